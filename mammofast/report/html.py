"""The report page: one HTML file that needs nothing beside it."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template, select_autoescape

from mammofast.archive import Archive, ArchiveImage, open_archive
from mammofast.archive.repeats import repeats
from mammofast.errors import ArchiveError, ImageError, MammofastError, ResultsError
from mammofast.records import Box, Finding, Window
from mammofast.report.outline import svg_outline
from mammofast.report.overview import overviews
from mammofast.report.phases import subtraction
from mammofast.report.pictures import confidence_map, picture, picture_level
from mammofast.report.volume_cards import volume_card
from mammofast.report.words import duration, moment, rate
from mammofast.screening import Results, open_results
from mammofast.screening.entry import Entry

# The longer side of a view's picture, in pixels: some 60 kB each.
_VIEW_SIDE = 1024
# A finding is shown pixel for pixel up to this side.
_ZOOM_SIDE = 1200
# How much of its surroundings a finding is shown with, as a part of its sides.
_ZOOM_MARGIN = 0.3
# The page of a large night stays one that a browser opens: the studies with the highest confidence have pictures.
MAX_PICTURED_STUDIES = 100
# Of each image: a network that finds far more is no use to look at, and a page of thousands of pictures is none either.
MAX_SHOWN_FINDINGS = 20
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
    """One image of the page; pictures are None where the archive, or what is needed of it, is not there.

    findings: the most confident ones. n_more: how many there are beside them.
    problem: why a picture is missing, in words; None where all are there, or the whole archive is away.
    repeat: which one it is, of how many of the same view in the study; None where it is alone in it.
    """

    entry: Entry
    picture: str | None
    map: str | None
    findings: list[_Shown]
    n_more: int
    problem: str | None
    repeat: tuple[int, int] | None


class _Pictures:
    """The pictures of one image, as far as its archive can be read: damage to one image is told in its place."""

    def __init__(self, archive: Archive | None, entry: Entry) -> None:
        self.problem: str | None = None
        self._source: ArchiveImage | None = None
        if archive is not None:
            try:
                self._source = archive.image(entry.image.study_uid or "", entry.image.sop_uid or "")
            except ArchiveError as error:
                self.problem = str(error)

    def take(self, level: int, window: Window | None = None) -> str | None:
        if self._source is None:
            return None
        try:
            return picture(self._source, level, window)
        except ImageError as error:
            self.problem = str(error)
            return None


def write_html(
    results: str | Path,
    out: str | Path,
    archive: str | Path | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``out/index.html``.

    Parameters
    ----------
    results: a results folder. out: a folder, made where it is missing.
    archive: where the archive is now; by default where it was when it was screened. Without an archive the page has
        outlines but no pictures.
    progress: called with the number of studies just drawn, and of all that will be.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ResultsError
        When ``results`` is no results folder, or not of the ``archive`` that is given.
    ArchiveError
        When ``archive`` is given and is none.

    """
    opened = open_results(results)
    found = archive_of(opened, archive)
    runs = overviews(opened, found)
    # Of each run as many as the page has room for.
    most = max(MAX_PICTURED_STUDIES // max(len(runs), 1), 1)
    ranked = [_ranked_studies(run.done) for run in runs]
    n_pictured = sum(min(len(studies), most) for studies in ranked)

    def drawn() -> None:
        if progress is not None:
            progress(1, n_pictured)

    page = _template().render(
        notices=opened.notices(),
        has_archive=found is not None,
        runs=[
            {
                "overview": run,
                "n_studies": len(studies),
                "n_pictured": min(len(studies), most),
                "studies": _studies(studies[:most], found, subtraction(run.summary), drawn),
            }
            for run, studies in zip(runs, ranked, strict=True)
        ],
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
    studies: Sequence[Sequence[Entry]],
    archive: Archive | None,
    phases: tuple[int, int],
    drawn: Callable[[], None],
) -> Iterator[dict[str, object]]:
    """Yield what the template says of each study, one at a time: pictures are large. ``drawn`` is called after each."""
    for entries in studies:
        views = [entry for entry in entries if not entry.image.is_volume]
        taken = _repeats(views, archive)
        yield {
            "uid": entries[0].image.study_uid,
            "confidence": _confidence(entries),
            "n_findings": sum(len(entry.findings) for entry in entries),
            "views": [_view(entry, archive, taken.get(entry.image.sop_uid or "")) for entry in views],
            "volumes": [volume_card(entry, archive, phases) for entry in entries if entry.image.is_volume],
        }
        drawn()


def _repeats(entries: Sequence[Entry], archive: Archive | None) -> dict[str, tuple[int, int]]:
    if archive is None:
        return {}
    images = []
    for entry in entries:
        with suppress(ArchiveError):  # that it is not there is told with its picture
            images.append(archive.image(entry.image.study_uid or "", entry.image.sop_uid or ""))
    return repeats(images)


def _view(entry: Entry, archive: Archive | None, repeat: tuple[int, int] | None) -> _View:
    shape = (entry.image.rows or 0, entry.image.cols or 0)
    level = picture_level(shape, _VIEW_SIDE)
    detections = entry.detection_rows()
    pictures = _Pictures(archive, entry)
    whole = pictures.take(level)
    numbered = list(enumerate(entry.findings, 1))
    most_confident = sorted(numbered, key=lambda pair: -pair[1].confidence)[:MAX_SHOWN_FINDINGS]
    most_confident.sort(key=lambda pair: pair[0])
    return _View(
        entry,
        whole,
        confidence_map(detections, shape, level) if len(detections) else None,
        [_shown(number, stored.finding(), entry, level, pictures) for number, stored in most_confident],
        len(numbered) - len(most_confident),
        pictures.problem,
        repeat,
    )


def _shown(number: int, finding: Finding, entry: Entry, level: int, pictures: _Pictures) -> _Shown:
    x, y = finding.box[:2]
    spacing = entry.image.pixel_spacing
    area = f"{finding.area_px} px" if spacing is None else f"{finding.area_px * spacing[0] * spacing[1]:.0f} mm²"
    outline = svg_outline(finding.mask, x, y, step=2**level)
    return _Shown(number, finding, area, outline, _zoom(finding, entry, pictures))


def _zoom(finding: Finding, entry: Entry, pictures: _Pictures) -> _Zoom | None:
    x_min, y_min, x_max, y_max = finding.box
    dx, dy = (round(side * _ZOOM_MARGIN) for side in (x_max - x_min, y_max - y_min))
    rows, cols = entry.image.rows or 0, entry.image.cols or 0
    window = (max(x_min - dx, 0), max(y_min - dy, 0), min(x_max + dx, cols), min(y_max + dy, rows))
    level = picture_level((window[3] - window[1], window[2] - window[0]), _ZOOM_SIDE)
    # Outwards to whole pixels of the level, so that picture and outline lie in one frame.
    x0, y0, x1, y1 = window[0] >> level, window[1] >> level, -(-window[2] >> level), -(-window[3] >> level)
    shown = (x0 << level, y0 << level, x1 << level, y1 << level)
    part = pictures.take(level, (x0, y0, x1, y1))
    return None if part is None else _Zoom(shown, part, svg_outline(finding.mask, x_min, y_min, 2 ** max(level, 1)))


def archive_of(results: Results, archive: str | Path | None) -> Archive | None:
    """Return the archive the results are of; None where it is not there any more."""
    try:
        found = open_archive(archive or results.archive_path)
    except MammofastError:
        if archive is not None:
            raise
        return None
    if found.archive_id == results.archive_id:
        return found
    if archive is None:
        return None
    raise ResultsError(f"the results are of archive {results.archive_id}, got archive {found.archive_id}")


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True), trim_blocks=True
    )
    environment.filters.update(duration=duration, moment=moment, rate=rate)
    return environment.get_template("page.html.jinja")
