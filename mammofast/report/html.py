"""The report page: one HTML file that needs nothing beside it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template, select_autoescape

from mammofast.archive import ArchiveImage, open_archive
from mammofast.errors import MammofastError
from mammofast.records import Box, Finding
from mammofast.report.outline import svg_outline
from mammofast.report.pictures import confidence_map, picture, picture_level
from mammofast.screening import Results, open_results
from mammofast.screening.entry import DONE, Entry

# The longer side of a view's picture, in pixels: some 60 kB each.
_VIEW_SIDE = 1024
# A finding is shown pixel for pixel up to this side.
_ZOOM_SIDE = 1200
# How much of its surroundings a finding is shown with, as a part of its sides.
_ZOOM_MARGIN = 0.3
# The page of a large night stays one that a browser opens: the studies with the highest confidence have pictures.
MAX_PICTURED_STUDIES = 100
# How mammograms are hung: right breast left, CC above MLO.
_HANGING = {("R", "CC"): 0, ("L", "CC"): 1, ("R", "MLO"): 2, ("L", "MLO"): 3}


@dataclass(frozen=True, slots=True)
class _Zoom:
    """A finding and its surroundings, as fine as they are."""

    window: Box
    picture: str
    outline: str


@dataclass(frozen=True, slots=True)
class _Shown:
    """One finding of the page; ``area``: in words."""

    number: int
    finding: Finding
    area: str
    outline: str
    zoom: _Zoom | None


@dataclass(frozen=True, slots=True)
class _View:
    """One image of the page; pictures are None where the archive is not there."""

    entry: Entry
    picture: str | None
    map: str | None
    findings: list[_Shown]


def write_html(results: str | Path, out: str | Path, archive: str | Path | None = None) -> Path:
    """Write ``out/index.html``.

    Parameters
    ----------
    results: a results folder. out: a folder, made where it is missing.
    archive: where the archive is now; by default where it was when it was screened. Without an archive the page has
        outlines but no pictures.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ResultsError
        When ``results`` is no results folder.
    ArchiveError
        When ``archive`` is given and is none.

    """
    opened = open_results(results)
    entries = list(opened.entries())
    studies = _ranked_studies([entry for entry in entries if entry.status == DONE])
    unused = [entry for entry in entries if entry.status != DONE]
    sources = _sources(opened, archive)
    page = _template().render(
        notices=opened.notices(),
        runs=opened.runs(),
        counts=Counter(entry.status for entry in entries),
        n_findings=sum(len(entry.findings) for entry in entries),
        n_studies=len(studies),
        studies=_studies(studies[:MAX_PICTURED_STUDIES], sources),
        n_pictured=min(len(studies), MAX_PICTURED_STUDIES),
        unused=unused,
        reasons=Counter((entry.reason or "").partition(":")[0] for entry in unused),
    )
    path = Path(out) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _confidence(entries: Sequence[Entry]) -> float:
    return max((finding.confidence for entry in entries for finding in entry.findings), default=0.0)


def _ranked_studies(done: Sequence[Entry]) -> list[list[Entry]]:
    """Return the images of each study in hanging order, the study with the most confident finding first."""
    studies: dict[str | None, list[Entry]] = defaultdict(list)
    for entry in done:
        studies[entry.image.study_uid].append(entry)
    for entries in studies.values():
        entries.sort(key=lambda e: (_HANGING.get((e.image.laterality or "", e.image.view or ""), 4), e.image.sop_uid))
    return sorted(studies.values(), key=lambda entries: (-_confidence(entries), entries[0].image.study_uid))


def _studies(
    studies: Sequence[Sequence[Entry]], sources: Mapping[str | None, ArchiveImage]
) -> Iterator[dict[str, object]]:
    """Yield what the template says of each study, one at a time: pictures are large."""
    for entries in studies:
        yield {
            "uid": entries[0].image.study_uid,
            "confidence": _confidence(entries),
            "n_findings": sum(len(entry.findings) for entry in entries),
            "views": [_view(entry, sources.get(entry.image.sop_uid)) for entry in entries],
        }


def _view(entry: Entry, source: ArchiveImage | None) -> _View:
    shape = (entry.image.rows or 0, entry.image.cols or 0)
    level = picture_level(shape, _VIEW_SIDE)
    detections = entry.detection_rows()
    return _View(
        entry,
        None if source is None else picture(source, level),
        confidence_map(detections, shape, level) if len(detections) else None,
        [_shown(number, stored.finding(), entry, level, source) for number, stored in enumerate(entry.findings, 1)],
    )


def _shown(number: int, finding: Finding, entry: Entry, level: int, source: ArchiveImage | None) -> _Shown:
    x, y = finding.box[:2]
    spacing = entry.image.pixel_spacing
    area = f"{finding.area_px} px" if spacing is None else f"{finding.area_px * spacing[0] * spacing[1]:.0f} mm²"
    outline = svg_outline(finding.mask, x, y, step=2**level)
    return _Shown(number, finding, area, outline, None if source is None else _zoom(finding, source))


def _zoom(finding: Finding, source: ArchiveImage) -> _Zoom:
    x_min, y_min, x_max, y_max = finding.box
    dx, dy = (round(side * _ZOOM_MARGIN) for side in (x_max - x_min, y_max - y_min))
    rows, cols = source.shape
    window = (max(x_min - dx, 0), max(y_min - dy, 0), min(x_max + dx, cols), min(y_max + dy, rows))
    level = picture_level((window[3] - window[1], window[2] - window[0]), _ZOOM_SIDE)
    # Outwards to whole pixels of the level, so that picture and outline lie in one frame.
    x0, y0, x1, y1 = window[0] >> level, window[1] >> level, -(-window[2] >> level), -(-window[3] >> level)
    shown = (x0 << level, y0 << level, x1 << level, y1 << level)
    outline = svg_outline(finding.mask, x_min, y_min, step=2 ** max(level, 1))
    return _Zoom(shown, picture(source, level, (x0, y0, x1, y1)), outline)


def _sources(results: Results, archive: str | Path | None) -> dict[str | None, ArchiveImage]:
    """Return the archive's images by SOP Instance UID; none where it is not there any more."""
    try:
        opened = open_archive(archive or results.archive_path)
    except MammofastError:
        if archive is not None:
            raise
        return {}
    return {image.record.sop_uid: image for image in opened.images()}


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True), trim_blocks=True
    )
    return environment.get_template("page.html.jinja")
