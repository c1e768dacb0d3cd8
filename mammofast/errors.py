"""Every error mammofast raises on purpose.

MammofastError
├── ImageError          one image cannot be used; carries a :class:`Reason`
│   ├── UnusableImage   it is sound, but not something this method reads  -> status "skipped"
│   └── BrokenImage     it is damaged, or its result would be             -> status "failed"
├── ArchiveError        the archive cannot be opened, read or written
├── BundleError         a bundle is incomplete, changed or malformed
├── EngineError         a network cannot be loaded or run
│   └── DeviceLostError its card is lost to this process
├── ModelError          a network cannot be built, or weights do not fit it
├── PacsError           a PACS cannot be reached, or refuses
├── PhantomError        phantoms cannot be written into this folder
├── ProfilingError      something cannot be measured, or not compared
├── ResultsError        the results folder cannot be used
├── SchedulerError      the workers cannot be started or reached
└── TrainingError       a recipe, a checkpoint or what a training is given cannot be used, or it went astray

Arguments of the wrong shape or type raise ``ValueError``. No message holds anything that may identify a patient:
no names, no patient numbers, no file names; UIDs and hashes only.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why an image has no result: the stable first word of the ledger's ``reason`` column."""

    NOT_DICOM = "not-dicom"
    NO_PIXELS = "no-pixels"
    NOT_A_MAMMOGRAM = "not-a-mammogram"
    TOMOSYNTHESIS = "tomosynthesis"
    MULTI_FRAME = "multi-frame"
    COLOUR = "colour"
    MAGNIFICATION_VIEW = "magnification-view"
    SPOT_COMPRESSION_VIEW = "spot-compression-view"
    IMPLANT = "implant"
    SPECIMEN = "specimen"
    LATERALITY = "laterality"
    VIEW = "view"
    VIEW_MODIFIER = "view-modifier"
    PRESENTATION_INTENT = "presentation-intent"
    NOT_DCE = "not-dce"
    ONE_PHASE = "one-phase"
    MISSING_PHASES = "missing-phases"
    PHASE_ORDER = "phase-order"
    MISSING_SLICES = "missing-slices"
    DUPLICATE_SLICES = "duplicate-slices"
    UNEVEN_SLICES = "uneven-slices"
    MIXED_ORIENTATION = "mixed-orientation"
    MIXED_GEOMETRY = "mixed-geometry"
    BURNED_IN_ANNOTATION = "burned-in-annotation"
    CONFLICTING_UID = "conflicting-uid"
    BAD_HEADER = "bad-header"
    TRANSFER_SYNTAX = "transfer-syntax"
    DECODE = "decode"
    CONSTANT_PIXELS = "constant-pixels"
    VALUE_RANGE = "value-range"
    MISSING_FILE = "missing-file"
    TOO_LARGE = "too-large"
    READ = "read"
    NOT_FINITE = "not-finite"
    BAD_ARRAY = "bad-array"
    WORKER = "worker"
    HUNG = "hung"
    MEMORY = "memory"
    INTERNAL = "internal"


class MammofastError(Exception):
    """Base of every error raised on purpose."""


class ImageError(MammofastError):
    """One image cannot be used; all others are untouched."""

    status = "failed"

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class UnusableImage(ImageError):
    """A sound image that is not what the archive keeps or the bundle reads."""

    status = "skipped"


class BrokenImage(ImageError):
    """A damaged image, or one whose result would be wrong."""


class ArchiveError(MammofastError):
    """The archive cannot be opened, read or written."""


class BundleError(MammofastError):
    """A bundle is incomplete, changed or malformed."""


class EngineError(MammofastError):
    """A network cannot be loaded or run."""


class DeviceLostError(EngineError):
    """A card that this process cannot use any more, no image's fault: end the process and start another one."""


class ModelError(MammofastError):
    """A network cannot be built, or weights do not fit it."""


class PacsError(MammofastError):
    """A PACS cannot be reached, refuses, or answers what makes no sense."""


class DatasetError(MammofastError):
    """A data set is not laid out as its makers lay it out, or one of its files cannot be read.

    of: which file or image, for those who may see its name: it may be a patient's, and is no part of the message.
    """

    def __init__(self, words: str, of: str | None = None) -> None:
        super().__init__(words, of)
        self.of = of

    def __str__(self) -> str:
        return str(self.args[0])


class PhantomError(MammofastError):
    """Phantoms cannot be written into this folder."""


class ProfilingError(MammofastError):
    """Something cannot be measured, or two measurements cannot be compared."""


class ResultsError(MammofastError):
    """The results folder cannot be used."""


class SchedulerError(MammofastError):
    """The workers cannot be started or reached."""


class TrainingError(MammofastError):
    """A recipe, a checkpoint or what a training is given cannot be used, or the training went astray."""
