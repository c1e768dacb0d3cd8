"""The experiments' pictures: means with intervals, and each image's Dice as a cumulative curve."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

NAMES = ("ablation", "losses", "groups")
_STYLE = {"svg.hashsalt": "mammofast", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def draw(cases: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write a picture of each part, such as ablation.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        for name, case in cases.items():
            figure = _figure(case)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


def _figure(case: Mapping[str, Any]) -> Any:
    panels = 3 if "sweep" in case else 2
    rows = len(case["table"])
    figure, axes = plt.subplots(1, panels, figsize=(4.6 * panels, max(3.6, 0.33 * rows + 1.5)), layout="constrained")
    _means(axes[0], case)
    _curves(axes[1], case)
    if "sweep" in case:
        _sweep(axes[2], case)
    figure.suptitle(case["case"])
    return figure


def _means(axes: Any, case: Mapping[str, Any]) -> None:
    names = list(case["table"])[::-1]
    for y, name in enumerate(names):
        row = case["table"][name]
        axes.plot(row["dice_interval"], [y, y], color="C0", lw=2, solid_capstyle="round")
        axes.plot(row["dice"], y, "o", color="C0", label="phantoms, 95 %" if y == 0 else None)
        for k, seed in enumerate(row.get("dice_of_seeds", ())):
            axes.plot(seed, y - 0.22, "|", color="C7", ms=6, label="each seed" if y == k == 0 else None)
        if "paper_dice" in row:
            axes.plot(row["paper_dice"], y, "D", color="C1", ms=5, label="paper, patients" if y == 0 else None)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("mean Dice of images with a mass")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0.0, -0.18), ncols=3, frameon=False)


def _curves(axes: Any, case: Mapping[str, Any]) -> None:
    for name, values in case["dice"].items():
        axes.step(values, np.arange(1, len(values) + 1) / len(values), where="post", label=name, lw=1.3)
    axes.set_xlabel("Dice")
    axes.set_ylabel("part of the images at or below")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left")


def _sweep(axes: Any, case: Mapping[str, Any]) -> None:
    thresholds = [float(each) for each in case["sweep"]]
    for name, label, colour in (
        ("sensitivity", "sensitivity", "C0"),
        ("fp_per_image", "false positives an image", "C3"),
    ):
        rows = list(case["sweep"].values())
        interval = [row["sensitivity_interval" if name == "sensitivity" else "fp_interval"] for row in rows]
        low, high = np.transpose(interval)
        values = np.array([row[name] for row in rows])
        axes.errorbar(
            thresholds, values, [values - low, high - values], marker="o", color=colour, capsize=3, lw=1.3, label=label
        )
    axes.errorbar(
        thresholds, [row["dice"] for row in case["sweep"].values()], marker="s", color="C2", lw=1.3, label="mean Dice"
    )
    axes.set_xlabel("λ")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
