"""What the stages hand to one another: images in, findings out.

Axes are ``(rows, cols)``. Boxes are ``(x_min, y_min, x_max, y_max)``, half-open, in pixels of the native image,
with the origin at the outer corner of the first pixel.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Box = tuple[int, int, int, int]
Window = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class GreyPipeline:
    """Which of DICOM's grey-scale steps a network was trained behind (PS3.4 N.2).

    modality: apply the Modality LUT (rescale slope and intercept, or its sequence).
    voi: apply the first VOI window (LINEAR, LINEAR_EXACT or SIGMOID) or, where there is one, the VOI LUT sequence.
    invert: after VOI, invert MONOCHROME1 and a Presentation LUT Shape of INVERSE, so that brighter is denser.
    """

    modality: bool = True
    voi: bool = True
    invert: bool = True

    def __post_init__(self) -> None:
        for step in fields(self):
            if not isinstance(getattr(self, step.name), bool):
                raise ValueError(f"grey: {step.name} is {getattr(self, step.name)!r}, expected true or false")


@dataclass(frozen=True, slots=True)
class GreyTable:
    """A grey-scale pipeline as one look-up table: stored value ``v`` means ``values[clip(v - first)]``.

    values: float32, finite, contiguous; first: the stored value of ``values[0]``.
    """

    first: int
    values: npt.NDArray[np.float32]

    def apply(self, stored: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Return the presentation values of stored values, same shape."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.values) - 1)
        return self.values[index]


@runtime_checkable
class ImageSource(Protocol):
    """An image as methods see it, wherever its pixels are kept."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the native image."""

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        """Millimetres between rows and between columns, where known."""

    def read(self, level: int = 0, window: Window | None = None) -> npt.NDArray[np.generic]:
        """Return stored values of a level, whole or the part inside a window of that level's pixels."""

    def grey_table(self, pipeline: GreyPipeline) -> GreyTable | None:
        """Return the pipeline as a table over stored values; None where values are presentation values already."""


@runtime_checkable
class VolumeSource(Protocol):
    """A dynamic series as methods see it, wherever its pixels are kept."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""

    @property
    def phases(self) -> int:
        """How many phases there are, the baseline, which is the first, included."""

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Millimetres between slices, rows and columns, where known."""

    def values(self, phase: int, slices: tuple[int, int] | None = None) -> npt.NDArray[np.float32]:
        """Return a phase (slices, rows, cols), or slices (first, last) of it; a negative phase counts from the last."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mass candidate.

    box: (x_min, y_min, x_max, y_max) in native pixels.
    score: eq. 1's Ms at its peak, relative to the image's strongest box.
    confidence: mean confidence over the scales run; ranks findings across images. May pass 1 where boxes of one scale
        overlap.
    mask: bool, the box's size.
    """

    box: Box
    score: float
    confidence: float
    mask: npt.NDArray[np.bool_] = field(repr=False)

    @property
    def area_px(self) -> int:
        """Number of mask pixels."""
        return int(np.count_nonzero(self.mask))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Finding):
            return NotImplemented
        return (self.box, self.score, self.confidence) == (other.box, other.score, other.confidence) and np.array_equal(
            self.mask, other.mask
        )

    __hash__ = None  # type: ignore[assignment]  # equality looks into an array


def no_detections() -> npt.NDArray[np.float32]:
    """Return no boxes, in the shape of :attr:`ImageResult.detections`."""
    return np.empty((0, 6), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class ImageResult:
    """All findings of one image, or why there are none to trust.

    shape: (rows, cols) of the native image; (0, 0) where the image could not be read at all.
    error: None, or the reason in words; then ``findings`` is empty and means nothing.
    detections: what the findings were fused from, float32 (n, 6): index of the scale, x_min, y_min, x_max, y_max in
        native pixels, confidence; (0, 6) where a method fuses nothing.
    """

    shape: tuple[int, int]
    findings: tuple[Finding, ...] = ()
    error: str | None = None
    detections: npt.NDArray[np.float32] = field(default_factory=no_detections, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImageResult):
            return NotImplemented
        mine, theirs = (self.shape, self.findings, self.error), (other.shape, other.findings, other.error)
        return mine == theirs and np.array_equal(self.detections, other.detections)

    __hash__ = None  # type: ignore[assignment]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """All findings' masks in the native frame, bool (rows, cols)."""
        return combine_masks(self.findings, self.shape)


@dataclass(frozen=True, slots=True)
class VolumeFinding:
    """One mass candidate of a volume.

    box: (x_min, y_min, x_max, y_max) in native pixels. z_min, z_max: slices, half-open.
    score, confidence: the same; the highest of its boxes'.
    """

    box: Box
    z_min: int
    z_max: int
    score: float
    confidence: float


@dataclass(frozen=True, slots=True)
class VolumeResult:
    """All findings of one volume, or why there are none to trust.

    shape: (slices, rows, cols). error: None, or the reason in words; then the others mean nothing.
    region: bool, of ``shape``: the breasts, as the bundle's first network sees them.
    """

    shape: tuple[int, int, int]
    findings: tuple[VolumeFinding, ...] = ()
    error: str | None = None
    region: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0, 0), dtype=bool), repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VolumeResult):
            return NotImplemented
        mine, theirs = (self.shape, self.findings, self.error), (other.shape, other.findings, other.error)
        return mine == theirs and np.array_equal(self.region, other.region)

    __hash__ = None  # type: ignore[assignment]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """All findings' boxes as far as they are within the region, bool (slices, rows, cols)."""
        return combine_boxes(self.findings, self.region)


def combine_boxes(findings: Iterable[VolumeFinding], region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """OR the findings' boxes, and AND them with the region (slices, rows, cols)."""
    canvas = np.zeros(region.shape, dtype=bool)
    for finding in findings:
        x_min, y_min, x_max, y_max = finding.box
        canvas[finding.z_min : finding.z_max, y_min:y_max, x_min:x_max] = True
    canvas &= region
    return canvas


def combine_masks(findings: Sequence[Finding], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """OR the findings' masks into one bool array of ``shape`` (rows, cols)."""
    canvas = np.zeros(shape, dtype=bool)
    for finding in findings:
        x_min, y_min, x_max, y_max = finding.box
        canvas[y_min:y_max, x_min:x_max] |= finding.mask
    return canvas


def tight_box(mask: npt.NDArray[np.bool_], x: int = 0, y: int = 0) -> Box:
    """Return the smallest box that holds a mask (rows, cols) whose first pixel lies at ``x``, ``y``.

    Of an empty mask it is (x, y, x, y).
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (x, y, x, y)
    return (x + int(cols[0]), y + int(rows[0]), x + int(cols[-1]) + 1, y + int(rows[-1]) + 1)


def level_shape(shape: tuple[int, int], level: int) -> tuple[int, int]:
    """Rows and columns of level k: ``ceil(size / 2**k)``."""
    return (-(-shape[0] // 2**level), -(-shape[1] // 2**level))
