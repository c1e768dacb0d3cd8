"""Results as Arrow tables. Column names and their order are what other programs rely on."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from mammofast.screening.entry import DONE, Entry, ImageInfo
from mammofast.screening.geometry import center_mm, size_mm
from mammofast.screening.stored_finding import StoredFinding

_WHERE = [(name, pa.string()) for name in ("study_uid", "series_uid", "sop_uid", "laterality", "view")]
# Of a volume's finding, in mm: along a row, along a column, across the slices; and in the Frame of Reference.
_SIZE, _CENTER = ("width_mm", "length_mm", "depth_mm"), ("center_x_mm", "center_y_mm", "center_z_mm")
_RUN = [("bundle_id", pa.string()), ("settings_id", pa.string())]

FINDINGS = pa.schema(
    [
        *_WHERE,
        ("finding", pa.int32()),
        *((name, pa.int32()) for name in ("x_min", "y_min", "x_max", "y_max", "z_min", "z_max")),
        ("score", pa.float64()),
        ("confidence", pa.float64()),
        ("area_px", pa.int64()),
        ("area_mm2", pa.float64()),
        *_RUN,
        ("slice_first", pa.int32()),
        ("slice_last", pa.int32()),
        *((name, pa.float64()) for name in (*_SIZE, *_CENTER)),
    ]
)
IMAGES = pa.schema(
    [
        *_WHERE,
        ("rows", pa.int32()),
        ("cols", pa.int32()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("n_findings", pa.int32()),
        ("content_sha256", pa.string()),
        *_RUN,
        ("slices", pa.int32()),
    ]
)
NOTICE = b"notice"


def findings_table(entries: Iterable[Entry], notices: Iterable[str]) -> pa.Table:
    """Return one row per finding."""
    rows = [
        _finding(entry, number, finding)
        for entry in sorted(entries, key=_order)
        for number, finding in enumerate(entry.findings, start=1)
    ]
    return _table(rows, FINDINGS, notices)


def images_table(entries: Iterable[Entry], notices: Iterable[str]) -> pa.Table:
    """Return one row per entry."""
    return _table([_image(entry) for entry in sorted(entries, key=_order)], IMAGES, notices)


def area_mm2(area_px: int, image: ImageInfo) -> float | None:
    """Return an area in mm², None where the pixel spacing is not known."""
    return None if image.pixel_spacing is None else area_px * image.pixel_spacing[0] * image.pixel_spacing[1]


def _finding(entry: Entry, number: int, finding: StoredFinding) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = finding.box
    return {
        **_where(entry),
        "finding": number,
        "x_min": x_min,
        "y_min": y_min,
        "x_max": x_max,
        "y_max": y_max,
        "z_min": None if finding.z is None else finding.z[0],
        "z_max": None if finding.z is None else finding.z[1],
        "score": finding.score,
        "confidence": finding.confidence,
        "area_px": finding.area_px,
        "area_mm2": None if finding.area_px is None else area_mm2(finding.area_px, entry.image),
        **({} if finding.z is None else _in_volume(finding, finding.z, entry.image)),
    }


def _in_volume(finding: StoredFinding, z: tuple[int, int], image: ImageInfo) -> dict[str, Any]:
    """Return a volume's finding as people count slices, from 1, and in mm as far as those are known."""
    found: dict[str, Any] = {"slice_first": z[0] + 1, "slice_last": z[1]}
    if image.spacing is not None:
        found |= zip(_SIZE, size_mm(finding.box, z, image.spacing), strict=True)
        if image.orientation is not None and image.positions is not None:
            center = center_mm(finding.box, z, image.spacing, image.orientation, image.positions)
            found |= zip(_CENTER, center, strict=True)
    return found


def _image(entry: Entry) -> dict[str, Any]:
    return {
        **_where(entry),
        "rows": entry.image.rows,
        "cols": entry.image.cols,
        "status": entry.status,
        "reason": entry.reason,
        "n_findings": len(entry.findings) if entry.status == DONE else None,
        "content_sha256": entry.image.content_sha256,
        "slices": entry.image.slices,
    }


def _where(entry: Entry) -> dict[str, Any]:
    image = entry.image
    return {
        "study_uid": image.study_uid,
        "series_uid": image.series_uid,
        "sop_uid": image.sop_uid,
        "laterality": image.laterality,
        "view": image.view,
        "bundle_id": entry.run.bundle_id,
        "settings_id": entry.run.settings_id,
    }


def _order(entry: Entry) -> tuple[bool, str, bool, str, str, str, str, str]:
    """Sort by study, image and run; what has no UID comes last."""
    image = entry.image
    return (
        image.study_uid is None,
        image.study_uid or "",
        image.sop_uid is None,
        image.sop_uid or "",
        image.content_sha256 or "",
        image.file_key or "",
        entry.run.bundle_id,
        entry.run.settings_id,
    )


def _table(rows: list[dict[str, Any]], schema: pa.Schema, notices: Iterable[str]) -> pa.Table:
    notice = "\n".join(notices).encode()
    return pa.Table.from_pylist(rows, schema=schema.with_metadata({NOTICE: notice} if notice else None))
