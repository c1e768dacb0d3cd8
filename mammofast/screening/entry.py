"""One image's results as the bytes of one file: the same image, bundle and settings always give the same bytes.

The file is ``{"result": R, "sha256": H}`` on one line, where H is the SHA-256 of R's bytes as they stand there and R is
JSON with sorted keys and no spaces. It holds no clock, no host name and no path.
"""

import base64
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mammofast.errors import Reason
from mammofast.records import Box, Finding, ImageResult
from mammofast.screening.runs import decode_mask, encode_mask

if TYPE_CHECKING:  # reading results needs nothing that reads archives
    from mammofast.archive import ImageRecord, SkippedRecord

FORMAT = 1
_DETECTIONS = np.dtype("<f4")
_DETECTION_COLUMNS = 6
DONE, SKIPPED, FAILED = "done", "skipped", "failed"

_HEAD = b'{"result":'
_MIDDLE = b',"sha256":"'
_TAIL = b'"}\n'
_TAIL_SIZE = len(_MIDDLE) + 64 + len(_TAIL)
# Of sorted keys the last one.
_STATUS = b'"status":"%s"}'


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a result says of its image.

    content_sha256: of the image's pixels; of a file that is no image, None where it could not be read.
    pixel_spacing: mm between rows and between columns, where known.
    file_key: the archive's name for a file that never became an image, all that tells two unreadable ones apart; None
    for an image.
    """

    study_uid: str | None
    series_uid: str | None
    sop_uid: str | None
    laterality: str | None
    view: str | None
    rows: int | None
    cols: int | None
    pixel_spacing: tuple[float, float] | None
    content_sha256: str | None
    file_key: str | None = None

    @property
    def is_image(self) -> bool:
        """False for a file that never became one."""
        return self.file_key is None

    @classmethod
    def of(cls, record: "ImageRecord") -> "ImageInfo":
        """Take over an archive's record of an image."""
        spacing = record.pixel_spacing
        return cls(
            study_uid=record.study_uid,
            series_uid=record.series_uid,
            sop_uid=record.sop_uid,
            laterality=record.laterality,
            view=record.view,
            rows=int(record.rows),
            cols=int(record.cols),
            pixel_spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
            content_sha256=record.content_sha256,
        )

    @classmethod
    def of_file(cls, record: "SkippedRecord") -> "ImageInfo":
        """Take over an archive's record of a file that it does not keep."""
        return cls(
            study_uid=record.study_uid,
            series_uid=record.series_uid,
            sop_uid=record.sop_uid,
            laterality=record.laterality,
            view=record.view,
            rows=record.rows,
            cols=record.cols,
            pixel_spacing=None,
            content_sha256=record.source_sha256,
            file_key=record.key,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """What a result depends on besides its image."""

    bundle_id: str
    settings_id: str


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A finding as results keep it; ``runs``: its mask, see :mod:`mammofast.screening.runs`."""

    box: Box
    score: float
    confidence: float
    area_px: int
    runs: bytes

    @classmethod
    def of(cls, finding: Finding) -> "StoredFinding":
        """Encode a finding."""
        x_min, y_min, x_max, y_max = map(int, finding.box)
        if finding.mask.shape != (y_max - y_min, x_max - x_min):
            raise ValueError(f"mask: got shape {finding.mask.shape}, expected the size of the box {finding.box}")
        runs = encode_mask(finding.mask)
        return cls((x_min, y_min, x_max, y_max), float(finding.score), float(finding.confidence), finding.area_px, runs)

    def finding(self) -> Finding:
        """Decode the finding."""
        x_min, y_min, x_max, y_max = self.box
        return Finding(self.box, self.score, self.confidence, decode_mask(self.runs, (y_max - y_min, x_max - x_min)))


@dataclass(frozen=True, slots=True)
class Entry:
    """One image's outcome in one run.

    reason: "<Reason>: detail" unless done. detections: :attr:`ImageResult.detections` as little-endian bytes.
    """

    image: ImageInfo
    run: Run
    status: str
    reason: str | None = None
    findings: tuple[StoredFinding, ...] = ()
    detections: bytes = b""

    @classmethod
    def of(cls, image: ImageInfo, run: Run, result: ImageResult) -> "Entry":
        """Take over what a method found, or why it found nothing to trust."""
        if result.error is not None:
            return cls(image, run, FAILED, result.error)
        if not all(math.isfinite(f.score) and math.isfinite(f.confidence) for f in result.findings):
            return cls(image, run, FAILED, f"{Reason.NOT_FINITE}: a finding's score is NaN or infinity")
        findings = tuple(StoredFinding.of(finding) for finding in result.findings)
        if result.detections.ndim != 2 or result.detections.shape[1] != _DETECTION_COLUMNS:
            raise ValueError(f"detections: got shape {result.detections.shape}, expected (n, {_DETECTION_COLUMNS})")
        return cls(image, run, DONE, None, findings, result.detections.astype(_DETECTIONS).tobytes())

    def detection_rows(self) -> npt.NDArray[np.float32]:
        """Return :attr:`ImageResult.detections`."""
        return np.frombuffer(self.detections, _DETECTIONS).astype(np.float32).reshape(-1, _DETECTION_COLUMNS)

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        result = {
            "format": FORMAT,
            "image": asdict(self.image),
            **asdict(self.run),
            "status": self.status,
            "reason": self.reason,
            "detections": base64.b64encode(self.detections).decode(),
            "findings": [
                {
                    "box": finding.box,
                    "score": finding.score,
                    "confidence": finding.confidence,
                    "area_px": finding.area_px,
                    "mask": base64.b64encode(finding.runs).decode(),
                }
                for finding in self.findings
            ],
        }
        body = json.dumps(result, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        return _HEAD + body + _MIDDLE + hashlib.sha256(body).hexdigest().encode() + _TAIL


def is_whole(content: bytes) -> bool:
    """Say whether a file's content is what was once written: its checksum is there and fits."""
    body = content[len(_HEAD) : -_TAIL_SIZE]
    return content == _HEAD + body + _MIDDLE + hashlib.sha256(body).hexdigest().encode() + _TAIL


def status_of(content: bytes) -> str:
    """Return the status that a whole file's content ends with, without reading its findings and masks."""
    for status in (DONE, SKIPPED, FAILED):
        if content.endswith(_STATUS % status.encode(), 0, -_TAIL_SIZE):
            return status
    return parse_entry(content).status


def parse_entry(content: bytes) -> Entry:
    """Read a file's content.

    Raises
    ------
    ValueError
        When it is damaged, or of a format that this version does not know.

    """
    if not is_whole(content):
        raise ValueError("the checksum does not fit")
    result: dict[str, Any] = json.loads(content[len(_HEAD) : -_TAIL_SIZE])
    if result["format"] != FORMAT:
        raise ValueError(f"got format {result['format']!r}, expected {FORMAT}: written by another version of mammofast")
    image = result["image"]
    spacing = image.pop("pixel_spacing")
    findings = (
        StoredFinding(
            (f["box"][0], f["box"][1], f["box"][2], f["box"][3]),
            f["score"],
            f["confidence"],
            f["area_px"],
            base64.b64decode(f["mask"], validate=True),
        )
        for f in result["findings"]
    )
    return Entry(
        ImageInfo(**image, pixel_spacing=None if spacing is None else (spacing[0], spacing[1])),
        Run(result["bundle_id"], result["settings_id"]),
        result["status"],
        result["reason"],
        tuple(findings),
        base64.b64decode(result["detections"], validate=True),
    )
