"""How well a bundle does on phantoms it was not trained on, through the very pipeline that screens archives."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.methods.screener import open_bundle
from mammofast.phantom.display import Display
from mammofast.phantom.plan import PlannedView
from mammofast.records import Box, Finding, GreyPipeline, GreyTable, Window

_HIT_IOU = 0.5
_DISPLAY_STREAM = 2


@dataclass(frozen=True, slots=True)
class PhantomImage:
    """A phantom view in memory as an image that methods read, with its truth."""

    pixels: npt.NDArray[np.uint16]
    table: GreyTable
    truth: npt.NDArray[np.uint8]
    pixel_spacing: tuple[float, float] | None = None

    @classmethod
    def make(cls, planned: PlannedView) -> "PhantomImage":
        """Render a planned view."""
        view = planned.draw()
        display = Display.draw(planned.stream(_DISPLAY_STREAM))
        return cls(display.store(view.render()), GreyTable(0, display.shown()), view.truth())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.pixels.shape[0], self.pixels.shape[1])

    def read(self, level: int = 0, window: Window | None = None) -> npt.NDArray[np.generic]:
        """Return a level, whole or a window of it."""
        pixels = ops.pool(self.pixels, [level])[0] if level else self.pixels
        if window is None:
            return pixels
        x_min, y_min, x_max, y_max = window
        return pixels[y_min:y_max, x_min:x_max]

    def grey_table(self, pipeline: GreyPipeline) -> GreyTable:
        """Return the display's own table, whatever the pipeline."""
        return self.table

    def mass_boxes(self) -> list[Box]:
        """Return the masses' boxes."""
        boxes = []
        for k in range(1, int(self.truth.max()) + 1):
            rows = np.flatnonzero((self.truth == k).any(axis=1))
            cols = np.flatnonzero((self.truth == k).any(axis=0))
            if len(rows):
                boxes.append((int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1))
        return boxes


@dataclass(frozen=True, slots=True)
class Measures:
    """images, masses: how many. sensitivity, fp_per_image: with all findings. sensitivity_at_limit: at the most
    findings, by falling confidence, that keep fp_per_image <= 0.30. dice_mean: of whole images that hold a mass.
    """

    images: int
    masses: int
    sensitivity: float
    fp_per_image: float
    sensitivity_at_limit: float
    dice_mean: float

    def as_dict(self) -> dict[str, float]:
        """Return JSON-ready values, rounded."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def measure(
    bundle: Path | str, views: Iterable[PlannedView], advance: Callable[[int], None] = lambda n: None
) -> Measures:
    """Screen phantom views with a bundle and compare with their truth."""
    marks: list[tuple[float, bool]] = []
    dice: list[float] = []
    images = masses = 0
    with open_bundle(bundle) as screener:
        for planned in views:
            image = PhantomImage.make(planned)
            result = screener.screen_images([image])[0]
            if result.error is not None:
                raise RuntimeError(f"a phantom could not be screened: {result.error}")
            boxes = image.mass_boxes()
            marks += match(result.findings, boxes)
            if boxes:
                dice.append(_dice(result.mask, image.truth > 0))
            images, masses = images + 1, masses + len(boxes)
            advance(1)
    marks.sort(key=lambda mark: -mark[0])
    hits = np.cumsum([hit for _, hit in marks], dtype=int)
    misses = np.arange(1, len(marks) + 1) - hits
    allowed = hits[misses <= 0.3 * images]
    return Measures(
        images=images,
        masses=masses,
        sensitivity=float(hits[-1]) / masses if len(hits) else 0.0,
        fp_per_image=float(misses[-1]) / images if len(hits) else 0.0,
        sensitivity_at_limit=float(allowed[-1]) / masses if len(allowed) else 0.0,
        dice_mean=float(np.mean(dice)) if dice else 0.0,
    )


def match(findings: Iterable[Finding], boxes: Iterable[Box]) -> list[tuple[float, bool]]:
    """Return (confidence, hit) of each finding: one to one, by falling confidence, hit where IoU >= 0.5."""
    free = list(boxes)
    marks = []
    for finding in sorted(findings, key=lambda f: -f.confidence):
        best = max(free, key=lambda box: box_iou(finding.box, box), default=None)
        hit = best is not None and box_iou(finding.box, best) >= _HIT_IOU
        if best is not None and hit:
            free.remove(best)
        marks.append((finding.confidence, hit))
    return marks


def box_iou(a: Box, b: Box) -> float:
    """Return intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def _dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
