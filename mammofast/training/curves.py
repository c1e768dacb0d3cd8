"""A training's course as a picture: the loss above, what was measured below, stages side by side."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Of an epoch's entry; all else in it was measured.
_NOT_MEASURED = ("stage", "epoch", "rate", "seconds")


def draw(history: Sequence[Mapping[str, Any]], title: str, out: Path) -> None:
    """Write ``curves.png`` and ``curves.svg`` into a folder; nothing where no epoch has ended.

    history: an entry for each epoch: "stage", "epoch", "rate", losses, measures (None where there was nothing to
    measure).
    """
    if not history:
        return
    names = list(dict.fromkeys(name for entry in history for name in entry if name not in _NOT_MEASURED))
    panels = [[name for name in names if name.startswith("loss")], [n for n in names if not n.startswith("loss")]]
    panels = [panel for panel in panels if panel]
    # Whether a file is drawn anew is not to show in it.
    with rc_context({"svg.hashsalt": "mammofast", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7, 2.4 * len(panels) + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title)
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, panel in zip(axes, panels, strict=True):
            for name in panel:
                points = [(i, entry[name]) for i, entry in enumerate(history, start=1) if entry.get(name) is not None]
                axis.plot([i for i, _ in points], [v for _, v in points], label=name, linewidth=1.2, marker=".")
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)
            _mark_stages(axis, history)
        axes[-1].set_xlabel("epoch")
        figure.savefig(out / "curves.png", dpi=120)
        figure.savefig(out / "curves.svg", metadata={"Date": None})


def _mark_stages(axis: Any, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw a line where a stage ends."""
    for i, (one, other) in enumerate(pairwise(history), start=1):
        if one["stage"] != other["stage"]:
            axis.axvline(i + 0.5, color="0.5", linewidth=0.8, linestyle="--")
            axis.annotate(
                other["stage"], (i + 0.5, 1), xycoords=("data", "axes fraction"), fontsize=8, va="top", color="0.3"
            )
