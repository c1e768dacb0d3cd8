"""One image's results as the bytes of one file: the same image, bundle and settings always give the same bytes.

The file is ``{"result": R, "sha256": H}`` on one line, where H is the SHA-256 of R's bytes as they stand there and R is
JSON with sorted keys and no spaces. It holds no clock, no host name and no path. What only volumes have is left out of
an image's.
"""

import base64
import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mammofast.errors import Reason
from mammofast.records import ImageResult, VolumeResult
from mammofast.screening.runs import decode_mask, encode_mask
from mammofast.screening.stored_finding import StoredFinding

if TYPE_CHECKING:  # reading results needs nothing that reads archives
    from mammofast.archive import ImageRecord, SkippedRecord, VolumeRecord

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
    """What a result says of its image, or of its volume.

    content_sha256: of the image's pixels; of a file that is no image, None where it could not be read.
    pixel_spacing: mm between rows and between columns, where known.
    file_key: the archive's name for a file that never became an image, all that tells two unreadable ones apart; None
    for an image.
    slices: of a volume, which its first slice in its first phase names; None of an image. slice_spacing: mm between.
    orientation, positions: of a volume, Image Orientation (Patient), and Image Position (Patient) of every slice; None
    of an image, and in results older than these.
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
    slices: int | None = None
    slice_spacing: float | None = None
    orientation: tuple[float, ...] | None = None
    positions: tuple[tuple[float, float, float], ...] | None = None

    @property
    def is_image(self) -> bool:
        """False for a file that never became one."""
        return self.file_key is None

    @property
    def is_volume(self) -> bool:
        """Whether it is one volume, not an image."""
        return self.slices is not None

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Of a volume, mm between slices, rows and columns."""
        if self.slice_spacing is None or self.pixel_spacing is None:
            return None
        return (self.slice_spacing, *self.pixel_spacing)

    @classmethod
    def of(cls, record: "ImageRecord | VolumeRecord") -> "ImageInfo":
        """Take over an archive's record of an image, or of a volume."""
        spacing = record.pixel_spacing
        # Not by its class: who reads results needs nothing that reads archives.
        slices, steps = getattr(record, "slices", None), getattr(record, "spacing", None)
        orientation, positions = getattr(record, "image_orientation", None), getattr(record, "positions", None)
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
            slices=None if slices is None else int(slices),
            slice_spacing=None if steps is None else float(steps[0]),
            orientation=orientation,
            positions=positions,
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

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values: ``asdict`` would copy each of them first, which takes ten times as long."""
        of_volumes = () if self.is_volume else ("slices", "slice_spacing", "orientation", "positions")
        return {name: getattr(self, name) for name in self.__slots__ if name not in of_volumes}


@dataclass(frozen=True, slots=True)
class Run:
    """What a result depends on besides its image."""

    bundle_id: str
    settings_id: str

    def has_ids(self, bundle_id: str | None, settings_id: str | None) -> bool:
        """Say whether these are its ids; of each the first digits will do, and None is any."""
        return self.bundle_id.startswith(bundle_id or "") and self.settings_id.startswith(settings_id or "")


@dataclass(frozen=True, slots=True)
class Entry:
    """One image's, or one volume's, outcome in one run.

    reason: "<Reason>: detail" unless done. detections: :attr:`ImageResult.detections` as little-endian bytes.
    region: of a volume, :attr:`VolumeResult.region` as runs, slice after slice; None of an image.
    """

    image: ImageInfo
    run: Run
    status: str
    reason: str | None = None
    findings: tuple[StoredFinding, ...] = ()
    detections: bytes = b""
    region: bytes | None = None

    @classmethod
    def of(cls, image: ImageInfo, run: Run, result: ImageResult | VolumeResult) -> "Entry":
        """Take over what a method found, or why it found nothing to trust."""
        if result.error is not None:
            return cls(image, run, FAILED, result.error)
        if not all(math.isfinite(f.score) and math.isfinite(f.confidence) for f in result.findings):
            return cls(image, run, FAILED, f"{Reason.NOT_FINITE}: a finding's score is NaN or infinity")
        findings = tuple(StoredFinding.of(finding) for finding in result.findings)
        if isinstance(result, VolumeResult):
            if (*result.region.shape,) != result.shape:
                raise ValueError(f"region: got shape {result.region.shape}, expected the volume's {result.shape}")
            return cls(image, run, DONE, None, findings, region=encode_mask(_flat(result.region)))
        if result.detections.ndim != 2 or result.detections.shape[1] != _DETECTION_COLUMNS:
            raise ValueError(f"detections: got shape {result.detections.shape}, expected (n, {_DETECTION_COLUMNS})")
        return cls(image, run, DONE, None, findings, result.detections.astype(_DETECTIONS).tobytes())

    def detection_rows(self) -> npt.NDArray[np.float32]:
        """Return :attr:`ImageResult.detections`."""
        return np.frombuffer(self.detections, _DETECTIONS).astype(np.float32).reshape(-1, _DETECTION_COLUMNS)

    def region_mask(self) -> npt.NDArray[np.bool_] | None:
        """Return :attr:`VolumeResult.region`, bool (slices, rows, cols); None of an image, and of what is not done."""
        if self.region is None:
            return None
        slices, rows, cols = self.image.slices or 0, self.image.rows or 0, self.image.cols or 0
        return decode_mask(self.region, (slices * rows, cols)).reshape(slices, rows, cols)

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        result = {
            "format": FORMAT,
            "image": self.image.as_dict(),
            "bundle_id": self.run.bundle_id,
            "settings_id": self.run.settings_id,
            "status": self.status,
            "reason": self.reason,
            "detections": base64.b64encode(self.detections).decode(),
            "findings": [finding.as_dict() for finding in self.findings],
            **({} if self.region is None else {"region": base64.b64encode(self.region).decode()}),
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
    spacing, orientation, positions = (
        image.pop("pixel_spacing"),
        image.pop("orientation", None),
        image.pop("positions", None),
    )
    region = result.get("region")
    return Entry(
        ImageInfo(
            **image,
            pixel_spacing=None if spacing is None else (spacing[0], spacing[1]),
            orientation=None if orientation is None else tuple(orientation),
            positions=None if positions is None else tuple((x, y, z) for x, y, z in positions),
        ),
        Run(result["bundle_id"], result["settings_id"]),
        result["status"],
        result["reason"],
        tuple(map(StoredFinding.from_dict, result["findings"])),
        base64.b64decode(result["detections"], validate=True),
        None if region is None else base64.b64decode(region, validate=True),
    )


def _flat(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return a volume's mask as one of two dimensions, slice below slice."""
    return region.reshape(-1, region.shape[2])
