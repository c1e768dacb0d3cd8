"""A volume on the report page: projections with candidates, slices through each, and how they take up contrast."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.archive import Archive
from mammofast.errors import ArchiveError, ImageError
from mammofast.records import Box, VolumeFinding, VolumeSource
from mammofast.report.directions import Sides, rises, sides_across, sides_through
from mammofast.report.outline import svg_outline
from mammofast.report.volume_pictures import Projections, Subtraction, enhancement, grey_picture, project
from mammofast.screening.entry import Entry
from mammofast.screening.geometry import size_mm

# How much of its surroundings a candidate is shown with, as a part of its sides, and at least, in voxels.
_MARGIN, _LEAST_MARGIN = 0.6, 8
# Slices through a candidate that are shown: where it begins, its middle, and where it ends.
_CUTS = 3
MAX_SHOWN_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Projection:
    """A projection as it is drawn.

    size: (columns, rows) in voxels; ratio: width / height in mm. boxes: of the candidates, by number. outline: of the
    breast region's projection. sides: what of the patient they are towards, where known.
    """

    title: str
    picture: str | None
    size: tuple[int, int]
    ratio: float
    boxes: dict[int, Box]
    outline: str
    sides: Sides | None


@dataclass(frozen=True, slots=True)
class Cut:
    """A slice through a candidate; z: from 0. window: what of it is shown. outline: of the breast region."""

    z: int
    window: Box
    ratio: float
    picture: str
    outline: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate of the card. size: width, length and depth in mm. curve: its mean in each phase; empty if unread."""

    number: int
    finding: VolumeFinding
    size: tuple[float, float, float]
    cuts: list[Cut]
    curve: list[float]

    @property
    def slices(self) -> str:
        """Its slices, as people count them."""
        first, last = self.finding.z_min + 1, self.finding.z_max
        return f"{first} to {last}" if first < last else f"{last}"

    def polyline(self, times: Sequence[float | None]) -> str:
        """Return the curve as points of an SVG of 100 x 40 that begins at 0.

        Phases are at their times, evenly where those are not known.
        """
        known = [time for time in times if time is not None]
        at = known if len(known) == len(times) else list(range(len(times)))
        low, high = min(0.0, *self.curve), max(self.curve)
        span, height = max(at[-1] - at[0], 1e-9), max(high - low, 1e-9)
        points = [
            (5 + 90 * (t - at[0]) / span, 36 - 32 * (v - low) / height) for t, v in zip(at, self.curve, strict=True)
        ]
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


@dataclass(frozen=True, slots=True)
class VolumeCard:
    """A volume of the page.

    shown, minus: the phases of the subtraction, counted from 1. times: s since the first phase. volume_ml: of the
    breast region. problem: why pictures are missing.
    """

    entry: Entry
    phases: int | None
    shown: int
    minus: int
    times: tuple[float | None, ...]
    volume_ml: float | None
    projections: list[Projection]
    candidates: list[Candidate]
    n_more: int
    problem: str | None


def volume_card(entry: Entry, archive: Archive | None, phases: tuple[int, int]) -> VolumeCard:
    """Return a volume's card. phases: which one the pictures show, and which one is taken from it.

    What needs the archive is left out where that, or the volume in it, cannot be read.
    """
    info = entry.image
    region = entry.region_mask()
    shape = (info.slices or 0, info.rows or 0, info.cols or 0)
    if region is None:
        region = np.zeros(shape, dtype=bool)
    spacing = info.spacing or (1.0, 1.0, 1.0)
    numbered = [(k, stored.volume_finding()) for k, stored in enumerate(entry.findings, start=1)]
    most_confident = sorted(sorted(numbered, key=lambda p: -p[1].confidence)[:MAX_SHOWN_FINDINGS], key=lambda p: p[0])
    source, problem = None, None
    drawn: tuple[Projections, list[Candidate]] | None = None
    if archive is not None:
        try:
            source = archive.volume(info.study_uid or "", info.sop_uid or "")
            if source.record.content_sha256 != info.content_sha256:
                source = None
                raise ArchiveError("more of the series has come since; the archive's volume is another one now")
            drawn = _drawn(source, phases, most_confident, region, spacing)
        except (ArchiveError, ImageError, ValueError) as error:
            problem = str(error)
    candidates = [Candidate(k, finding, _size(finding, spacing), [], []) for k, finding in most_confident]
    orientation = info.orientation or (None if source is None else source.record.image_orientation)
    shown, minus = (phase + 1 if source is None else phase % source.phases + 1 for phase in phases)
    return VolumeCard(
        *(entry, None if source is None else source.phases, shown, minus),
        () if source is None else source.times,
        float(region.sum() * np.prod(spacing) / 1000) if info.spacing else None,
        _projections(None if drawn is None else drawn[0], most_confident, region, spacing, orientation),
        candidates if drawn is None else drawn[1],
        len(numbered) - len(most_confident),
        problem,
    )


def _drawn(
    source: VolumeSource,
    phases: tuple[int, int],
    findings: Sequence[tuple[int, VolumeFinding]],
    region: npt.NDArray[np.bool_],
    spacing: tuple[float, float, float],
) -> tuple[Projections, list[Candidate]]:
    subtraction = Subtraction(source, *phases)
    projected = project(subtraction)
    candidates = [
        Candidate(
            number,
            finding,
            _size(finding, spacing),
            _cuts(subtraction, finding, region, spacing, projected.window),
            enhancement(source, finding, region),
        )
        for number, finding in findings
    ]
    return projected, candidates


def _projections(
    projected: Projections | None,
    findings: Sequence[tuple[int, VolumeFinding]],
    region: npt.NDArray[np.bool_],
    spacing: tuple[float, float, float],
    orientation: Sequence[float] | None,
) -> list[Projection]:
    slices, rows, cols = region.shape
    depth, row, column = spacing
    last_on_top = orientation is not None and rises(orientation)  # the head is up
    sides: tuple[Sides | None, Sides | None] = (None, None)
    if orientation is not None:
        sides = sides_through(orientation), sides_across(orientation, last_on_top)
    through = {number: finding.box for number, finding in findings}
    over = {
        number: (
            f.box[0],
            *((slices - f.z_max, f.box[2], slices - f.z_min) if last_on_top else (f.z_min, f.box[2], f.z_max)),
        )
        for number, f in findings
    }
    order = slice(None, None, -1 if last_on_top else 1)
    pictures: list[str | None] = [None, None]
    if projected is not None:
        each = (projected.through, np.ascontiguousarray(projected.over[order]))
        pictures = [grey_picture(values, projected.window) for values in each]
    sizes = ((cols, rows), (cols, slices))
    ratios = [cols * column / max(rows * row, 1e-9), cols * column / max(slices * depth, 1e-9)]
    outlines = [svg_outline(np.asarray(region.any(axis=0))), svg_outline(np.asarray(region.any(axis=1))[order])]
    titles = ("through all slices", f"across them, slice {slices if last_on_top else 1} at the top")
    return [
        Projection(*one) for one in zip(titles, pictures, sizes, ratios, (through, over), outlines, sides, strict=True)
    ]


def _cuts(
    subtraction: Subtraction,
    finding: VolumeFinding,
    region: npt.NDArray[np.bool_],
    spacing: tuple[float, float, float],
    window: tuple[float, float],
) -> list[Cut]:
    _, rows, cols = region.shape
    x_min, y_min, x_max, y_max = finding.box
    dx, dy = (max(round(side * _MARGIN), _LEAST_MARGIN) for side in (x_max - x_min, y_max - y_min))
    x0, y0, x1, y1 = max(x_min - dx, 0), max(y_min - dy, 0), min(x_max + dx, cols), min(y_max + dy, rows)
    found = []
    for z in sorted({round(float(at)) for at in np.linspace(finding.z_min, finding.z_max - 1, _CUTS)}):
        (values,) = subtraction.slices(z, z + 1)
        picture = grey_picture(np.ascontiguousarray(values[y0:y1, x0:x1]), window)
        outline = svg_outline(region[z])  # whole: what is cut off must not end in a line
        ratio = (x1 - x0) * spacing[2] / ((y1 - y0) * spacing[1])
        found.append(Cut(z, (x0, y0, x1, y1), ratio, picture, outline))
    return found


def _size(finding: VolumeFinding, spacing: tuple[float, float, float]) -> tuple[float, float, float]:
    return size_mm(finding.box, (finding.z_min, finding.z_max), spacing)
