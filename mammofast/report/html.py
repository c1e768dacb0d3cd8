"""The report page: one HTML file that needs nothing beside it."""

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, select_autoescape

from mammofast.archive import ArchiveImage, open_archive
from mammofast.errors import MammofastError
from mammofast.methods.contrast import Contrast
from mammofast.records import GreyPipeline
from mammofast.report.outline import svg_outline
from mammofast.screening import Results, open_results

# Longest side, in pixels, of the pictures in the page: a phone's width twice, some 60 kB each.
_PICTURE_SIDE = 1024
_JPEG_QUALITY = 85
_CONTRAST = Contrast(low_percentile=0.5, high_percentile=99.8)
# The page of a large night stays one that a browser opens: the studies with the highest confidence have pictures.
MAX_PICTURED_STUDIES = 100
# How mammograms are hung: right breast left, CC above MLO.
_HANGING = {("R", "CC"): 0, ("L", "CC"): 1, ("R", "MLO"): 2, ("L", "MLO"): 3}

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _View:
    """One image of the page."""

    image: Row
    picture: str | None
    findings: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Study:
    uid: str
    confidence: float
    n_findings: int
    views: list[_View]


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

    """
    opened = open_results(results)
    images = opened.images().to_pylist()
    findings = opened.findings().to_pylist()
    sources = _sources(opened, archive)
    by_image: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for finding in findings:
        by_image[_key(finding)].append(finding)

    done = [image for image in images if image["status"] == "done"]
    ranked = _ranked_studies(done, by_image)
    page = _template().render(
        notices=opened.notices(),
        counts=Counter(image["status"] for image in images),
        n_findings=len(findings),
        n_studies=len(ranked),
        n_pictured=min(len(ranked), MAX_PICTURED_STUDIES),
        studies=[_study(uid, rows, by_image, opened, sources) for uid, rows in ranked[:MAX_PICTURED_STUDIES]],
        unused=[image for image in images if image["status"] != "done"],
        reasons=Counter((image["reason"] or "").partition(":")[0] for image in images if image["status"] != "done"),
    )
    path = Path(out) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _key(row: Row) -> tuple[str, str, str]:
    return (row["sop_uid"], row["bundle_id"], row["settings_id"])


def _ranked_studies(
    done: Iterable[Row], by_image: Mapping[tuple[str, str, str], list[Row]]
) -> list[tuple[str, list[Row]]]:
    """Return the studies, the most confident finding first."""
    studies: dict[str, list[Row]] = defaultdict(list)
    for image in done:
        studies[image["study_uid"]].append(image)

    def rank(item: tuple[str, list[Row]]) -> tuple[float, str]:
        uid, rows = item
        return (-max((f["confidence"] for row in rows for f in by_image[_key(row)]), default=-1.0), uid)

    return sorted(studies.items(), key=rank)


def _study(
    uid: str,
    rows: list[Row],
    by_image: Mapping[tuple[str, str, str], list[Row]],
    results: Results,
    sources: Mapping[str, ArchiveImage],
) -> _Study:
    rows = sorted(rows, key=lambda row: (_HANGING.get((row["laterality"], row["view"]), 4), row["sop_uid"]))
    views = [_view(row, by_image[_key(row)], results, sources.get(row["sop_uid"])) for row in rows]
    confidences = [finding["confidence"] for view in views for finding in view.findings]
    return _Study(uid, max(confidences, default=0.0), len(confidences), views)


def _view(row: Row, findings: list[Row], results: Results, source: ArchiveImage | None) -> _View:
    level = _picture_level((row["rows"], row["cols"]))
    outlined = []
    if findings:
        mask = results.mask(row["sop_uid"], row["bundle_id"], row["settings_id"])
        for finding in findings:
            x, y = finding["x_min"], finding["y_min"]
            part = mask[y : finding["y_max"], x : finding["x_max"]]
            outlined.append({**finding, "outline": svg_outline(part, x, y, step=2**level)})
    picture = None if source is None else _picture(source, level)
    return _View(row, picture, outlined)


def _picture_level(shape: tuple[int, int]) -> int:
    level = 0
    while -(-max(shape) // 2**level) > _PICTURE_SIDE:
        level += 1
    return level


def _picture(source: ArchiveImage, level: int) -> str:
    """Return a level as an 8-bit JPEG in a data URL."""
    pixels = source.read(level=level)
    table = source.grey_table(GreyPipeline())
    low, high = _CONTRAST.window(pixels, table)
    values = pixels if table is None else table.apply(pixels)
    grey: npt.NDArray[np.uint8] = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    encoded = imagecodecs.jpeg8_encode(grey, level=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()


def _sources(results: Results, archive: str | Path | None) -> dict[str, ArchiveImage]:
    """Return the archive's images by SOP Instance UID; none where it is not there any more."""
    try:
        opened = open_archive(archive or results.archive_path)
    except MammofastError:
        if archive is not None:
            raise
        return {}
    return {image.record.sop_uid: image for image in opened.images()}


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True), trim_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.0f} %"
    return environment.get_template("page.html.jinja")
