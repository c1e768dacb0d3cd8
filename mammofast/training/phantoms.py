"""Phantoms as training data without files: each view is drawn when it is asked for, and only as fine as is needed.

Training phantoms, validation phantoms and the phantoms that ``mammofast phantom`` writes come from random streams whose
first word differs (:class:`mammofast.phantom.plan.Purpose`), so no seed makes one a copy of another.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.datasets import Dataset, Sample
from mammofast.phantom.display import Display
from mammofast.phantom.plan import STANDARD_MIX, Mix, PlannedView, Purpose, plan_studies
from mammofast.phantom.view import View
from mammofast.records import GreyPipeline, GreyTable, Window, tight_box

# Of a view's own streams: 0 draws it, 2 and 3 belong to what is written.
_DISPLAY_STREAM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSample(Sample):
    """A phantom view that is drawn on demand; ``image`` is where it would be, were it a file."""

    planned: PlannedView

    def source(self) -> "DrawnImage":
        """Return its image."""
        return DrawnImage(self.planned)

    def read(self) -> npt.NDArray[Any]:
        """Return the native image's presentation values: there is no header to say what stored ones show."""
        image = self.source()
        return image.grey_table(GreyPipeline()).apply(image.read())

    def masses(self, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return the truth: 0 = no mass, k = mass k."""
        return _draw(self.planned).truth()

    def fingerprint(self) -> str:
        """Return what the sample's pixels and truth depend on, as a hash."""
        words = [*self.planned.of.words(), self.name]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """A phantom view as methods see an image.

    Coarse levels are all one and the same: the drawing's own grid of about a thousand rows. Methods stretch what they
    read to a network's size, and no network here sees more.
    """

    planned: PlannedView

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the native image."""
        return (self.planned.detector.rows, self.planned.detector.cols)

    @property
    def pixel_spacing(self) -> tuple[float, float]:
        """Millimetres between rows and between columns."""
        return (self.planned.detector.spacing, self.planned.detector.spacing)

    def read(self, level: int = 0, window: Window | None = None) -> npt.NDArray[np.uint16]:
        """Return stored values: native ones, whole or of a window, or with any level but 0 the coarse image.

        Raises
        ------
        ValueError
            When a window of a coarse level is asked for.

        """
        if level and window is not None:
            raise ValueError("window: a drawn phantom has windows of its native image only")
        view = _draw(self.planned)
        return self._display().store(view.coarse() if level else view.render(window))

    def grey_table(self, pipeline: GreyPipeline) -> GreyTable:
        """Return the display's own table, whatever the pipeline."""
        return GreyTable(0, self._display().shown())

    def _display(self) -> Display:
        return Display.draw(self.planned.stream(_DISPLAY_STREAM))


# One image is asked for its coarse level, its truth and its windows, one after the other.
@lru_cache(maxsize=2)
def _draw(planned: PlannedView) -> View:
    return planned.draw()


def draw_phantoms(studies: int, seed: int, purpose: Purpose = Purpose.TRAINING, mix: Mix = STANDARD_MIX) -> Dataset:
    """Return a set of four-view studies as a data set; each study is a patient.

    Raises
    ------
    ValueError
        When ``studies`` or ``seed`` is negative.

    """
    name = f"{purpose.name.lower()}-phantoms-{seed}"
    samples = tuple(
        DrawnSample(
            name=f"{name}-{view.study:05}-{view.side}-{view.view}",
            patient=f"{name}-{view.study:05}",
            image=Path(f"{name}-{view.study:05}-{view.side}-{view.view}.drawn"),
            laterality=view.side,
            view=view.view,
            planned=view,
        )
        for views in plan_studies(studies, seed, purpose, mix)
        for view in views
    )
    return Dataset(name, samples)


def mass_boxes(planned: PlannedView) -> npt.NDArray[np.float64]:
    """Return the boxes (k, 4) of a view's masses to a pixel of the drawing's grid, as parts of its width and height."""
    view = _draw(planned)
    rows, cols = view.detector.base_shape
    boxes = np.array([tight_box(inside > 0) for inside in view.inside], dtype=np.float64).reshape(-1, 4)
    return boxes / [cols, rows, cols, rows]
