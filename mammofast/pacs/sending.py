"""What is sent, and what became of it; the same for STOW-RS and C-STORE."""

from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread

from mammofast.archive.mammogram import uid

# What PACS say most often, in words (PS3.4 B.2.3, PS3.7 C, PS3.18 I.2.1).
_FAILURES = {
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0xC122: "transfer syntax not supported",
}
_FAMILIES = {0xA7: "out of resources", 0xA9: "data set does not match SOP class", 0xC0: "cannot understand"}
_WARNINGS = {0xB000: "elements coerced", 0xB006: "elements discarded", 0xB007: "data set does not match SOP class"}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One DICOM file to send."""

    path: Path
    size: int
    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_uid: str
    transfer_syntax_uid: str


@dataclass
class SendReport:
    """How many objects were stored, there already, or not stored; and why, by SOP Instance UID."""

    sent: int = 0
    present: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """How many objects the PACS does not have."""
        return len(self.failures)

    def as_dict(self) -> dict[str, object]:
        """Return the counts and reasons as JSON-ready values."""
        return {
            "sent": self.sent,
            "present": self.present,
            "failed": self.failed,
            "failures": self.failures,
            "warnings": self.warnings,
        }

    def __str__(self) -> str:
        return f"{self.sent} sent, {self.present} there already, {self.failed} failed"


def outgoing(folder: Path, report: SendReport) -> list[Outgoing]:
    """Return the DICOM files (*.dcm) under a folder, each instance once, by study; report those that are none."""
    found: dict[str, Outgoing] = {}
    for number, path in enumerate(sorted(folder.rglob("*.dcm")), start=1):
        try:
            each = _read(path)
        except Exception as error:
            # Its message may quote the file, and the file's name may be a patient's.
            report.failures[f"file {number} by name"] = f"not a DICOM object with all its UIDs ({type(error).__name__})"
            continue
        found.setdefault(each.sop_uid, each)
    return sorted(found.values(), key=lambda each: (each.study_uid, each.path))


def _read(path: Path) -> Outgoing:
    keywords = ["StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"]
    header = dcmread(path, stop_before_pixels=True, specific_tags=keywords)
    uids = [uid(header, keyword) for keyword in keywords] + [uid(header.file_meta, "TransferSyntaxUID")]
    study, series, sop_class, sop, syntax = ("" if each is None else each for each in uids)
    if None in uids:
        raise ValueError
    return Outgoing(path, path.stat().st_size, study, series, sop_class, sop, syntax)


def in_words(status: int) -> str:
    """Return a DIMSE status, or a Failure or Warning Reason of STOW-RS, in words."""
    words = _FAILURES.get(status) or _WARNINGS.get(status) or _FAMILIES.get(status >> 8)
    if words is None and status >> 12 == 0xC:
        words = "cannot understand"
    return f"{words or 'no reason known'} (0x{status:04X})"
