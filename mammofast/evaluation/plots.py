"""Pictures of a measurement: FROC, precision and recall, cumulative Dice, areas (Bland and Altman), kinds of masses."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.evaluation.measuring import Measured
from mammofast.evaluation.statistics import cumulative, draw_groups

Values = npt.NDArray[np.float64]
# Okabe and Ito's, told apart without colours too: by the lines' dashes.
_COLOURS = ("#0072B2", "#D55E00")
_DASHES = ("-", "--")
_SIZE = (6.4, 4.4)
_DPI = 160
_LEGEND = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.9}
_SAMPLES = 1000
_GRID = 80


def draw(
    folder: Path, systems: Mapping[str, Measured], kinds: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
) -> list[Path]:
    """Draw what was measured as PNG files.

    Parameters
    ----------
    folder: made where it is not there; what lies there under the same names is written over.
    systems: one or two, by the names that the pictures show; measured with masks for cumulative Dice and areas.
    kinds: by what the first system's masses are told apart: see :func:`mammofast.evaluation.groups.breakdown`.

    Returns
    -------
    The files written. A picture that nothing can be said in is left out.

    """
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(systems.values()))
    pictures: list[tuple[str, Callable[[Any], None]]] = []
    if any(image.masses for image in first.images):
        pictures += [
            ("froc.png", lambda axes: _froc(axes, systems)),
            ("precision_recall.png", lambda axes: _precision_recall(axes, systems)),
            ("cumulative_dice.png", lambda axes: _cumulative_dice(axes, systems)),
        ]
        if any(image.masses and image.area_mm2 is not None for image in first.images):
            pictures.append(("areas.png", lambda axes: _areas(axes, first)))
    for by, groups in (kinds or {}).items():
        pictures.append((f"by_{by}.png", lambda axes, by=by, groups=groups: _kinds(axes, by, groups)))  # type: ignore[misc]
    return [_save(folder / name, picture) for name, picture in pictures]


def _save(path: Path, picture: Callable[[Any], None]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    picture(axes)
    figure.savefig(path)
    return path


def _froc(axes: Any, systems: Mapping[str, Measured]) -> None:
    """Sensitivity over false positives per image, with the spread over patients."""
    curves = {name: measured.detections() for name, measured in systems.items()}
    points = _fused_points(next(iter(systems.values())))
    reached = [float(found.froc().fp_per_image[-1]) for found in curves.values()] + [x for x, _ in points.values()]
    end = max(max(reached) * 1.1, 0.05)
    for (name, found), colour, dashes in zip(curves.items(), _COLOURS, _DASHES, strict=False):
        curve = found.froc()
        x = np.append(curve.fp_per_image, end)
        y = np.append(curve.sensitivity, curve.sensitivity[-1])
        axes.step(x, y, where="post", color=colour, linestyle=dashes, label=name, linewidth=1.8)
        axes.plot(curve.fp_per_image[-1], curve.sensitivity[-1], "o", color=colour, markersize=6)
        if found.tells_spread:
            grid = np.linspace(0, end, _GRID)
            _, drawn = found.resample(draw_groups(len(found.patients), _SAMPLES, 0), tuple(grid.tolist()))
            low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
            axes.fill_between(grid, low, high, color=colour, alpha=0.15, linewidth=0, label="95 %, over patients")
    for threshold, point in points.items():
        axes.plot(*point, "k+", markersize=7)
        axes.annotate(f"λ = {threshold:g}", point, fontsize=8, xytext=(4, -10), textcoords="offset points")
    axes.set(xlabel="False positives per image", ylabel="Sensitivity", ylim=(0, 1.02), xlim=(0, end))
    axes.legend(loc="lower right", **_LEGEND)


def _fused_points(measured: Measured) -> dict[float, tuple[float, float]]:
    """Return false positives per image and sensitivity by λ, where the method fuses; λ = 0 lies far out, and is not."""
    if not all(image.fused for image in measured.images):
        return {}
    curves = {threshold: measured.fused(threshold).froc() for threshold in measured.images[0].fused if threshold > 0}
    return {threshold: (float(c.fp_per_image[-1]), float(c.sensitivity[-1])) for threshold, c in curves.items()}


def _precision_recall(axes: Any, systems: Mapping[str, Measured]) -> None:
    for (name, measured), colour, dashes in zip(systems.items(), _COLOURS, _DASHES, strict=False):
        found = measured.detections()
        curve = found.froc()
        true = curve.sensitivity[1:] * found.n_masses.sum()
        false = curve.fp_per_image[1:] * found.n_images.sum()
        label = f"{name}, AP {found.average_precision():.3f}"
        recall, precision = curve.sensitivity[1:], true / np.maximum(true + false, 1)
        axes.step(
            np.insert(recall, 0, 0),
            np.insert(precision, 0, precision[:1].max(initial=0)),
            where="pre",
            color=colour,
            linestyle=dashes,
            label=label,
            linewidth=1.8,
        )
    axes.set(xlabel="Recall (sensitivity), IoU 0.5 or more", ylabel="Precision", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower left", **_LEGEND)


def _cumulative_dice(axes: Any, systems: Mapping[str, Measured]) -> None:
    """P2's figure 4: the further right and down, the more images are segmented well."""
    for (name, measured), colour, dashes in zip(systems.items(), _COLOURS, _DASHES, strict=False):
        dices = [image.dice for image in measured.images if image.dice is not None]
        if not dices:
            continue
        x, y = cumulative(dices)
        label = f"{name}, mean {np.mean(dices):.3f}"
        axes.step(
            np.concatenate([[0], x, [1]]),
            np.concatenate([[0], y, [1]]),
            where="post",
            color=colour,
            linestyle=dashes,
            label=label,
            linewidth=1.8,
        )
    axes.set(xlabel="Dice of an image", ylabel="Part of images with at most this Dice", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="upper left", **_LEGEND)


def _areas(axes: Any, measured: Measured) -> None:
    """Bland and Altman 1986: predicted less true area, over their mean; images on which nothing was found apart."""
    areas = np.array([i.area_mm2 for i in measured.images if i.masses and i.area_mm2 is not None]) / 100
    missed = areas[:, 0] == 0
    mean, difference = areas.mean(axis=1), areas[:, 0] - areas[:, 1]
    axes.plot(mean[~missed], difference[~missed], "o", color=_COLOURS[0], alpha=0.7, markersize=4.5, label="images")
    if missed.any():
        axes.plot(mean[missed], difference[missed], "x", color=_COLOURS[1], markersize=5, label="nothing found")
    found = difference[~missed]
    if len(found) > 1:
        bias, spread = float(found.mean()), float(1.96 * found.std(ddof=1))
        for level, words in ((bias, "mean"), (bias + spread, "+1.96 SD"), (bias - spread, "-1.96 SD")):
            axes.axhline(level, color="#444444", linewidth=1, linestyle="-" if words == "mean" else ":")
            axes.annotate(
                f"{words} {level:+.2f}",
                (1, level),
                xycoords=("axes fraction", "data"),
                fontsize=8,
                ha="right",
                va="bottom",
            )
    axes.set(xlabel="Mean of predicted and true area of an image, cm²", ylabel="Predicted less true area, cm²")
    axes.set_xlim(left=0)
    axes.margins(y=0.2)
    axes.legend(loc="upper left", **_LEGEND)


def _kinds(axes: Any, by: str, groups: Sequence[Mapping[str, Any]]) -> None:
    """Sensitivity and Dice of each kind of mass, with intervals."""
    places = np.arange(len(groups))[::-1].astype(np.float64)
    for (name, words), offset, colour, marker in zip(
        (("sensitivity", "Sensitivity"), ("dice_mean", "Dice, a missed mass counts 0")),
        (0.12, -0.12),
        _COLOURS,
        "os",
        strict=True,
    ):
        values = [group[name] for group in groups]
        axes.plot(values, places + offset, marker, color=colour, label=words)
        for place, group in zip(places, groups, strict=True):
            if (interval := group["intervals"][name]) is not None:
                axes.plot(interval, [place + offset] * 2, color=colour, linewidth=1.5)
    labels = [f"{group['group']}\nn = {group['n_masses']}" for group in groups]
    axes.set_yticks(places, labels)
    axes.set(xlim=(0, 1.02), ylim=(-0.6, len(groups) - 0.4), xlabel=f"By {by}; lines: 95 %, over patients")
    axes.legend(loc="lower left", **_LEGEND)
