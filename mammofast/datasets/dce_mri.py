"""Breast DCE-MRI: phantoms of ``mammofast phantom --kind dce-mri`` in the archive that ``mammofast ingest`` made."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset as Header

from mammofast.archive import ArchiveVolume, open_archive
from mammofast.archive.patients import patient_of
from mammofast.datasets.record import Dataset, LeftOut, Sample, dataset
from mammofast.errors import ArchiveError, DatasetError, ImageError

ARCHIVE = "archive.zarr"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSample(Sample):
    """A volume of an archive; ``labels`` is a .npy file, ``image`` the archive."""

    archived: ArchiveVolume

    def volume(self) -> tuple[ArchiveVolume, npt.NDArray[np.uint8]]:
        """Return it, and its labels (slices, rows, cols): 0 outside the breasts, 1 breast, 1 + k the k-th mass.

        Raises
        ------
        DatasetError
            When the labels cannot be read, or are not of the volume's shape.

        """
        assert self.labels is not None, "the reader gives it"
        try:
            labels = np.load(self.labels, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DatasetError(f"its labels cannot be read ({type(error).__name__})", self.labels.name) from error
        if labels.dtype != np.uint8 or labels.shape != self.archived.shape:
            raise DatasetError(
                f"labels: got {labels.dtype} of {labels.shape}, expected uint8 of {self.archived.shape}, as the "
                "volume: another's?",
                self.labels.name,
            )
        return self.archived, labels

    def fingerprint(self) -> str:
        """Return a hash of what the volume and its labels hold."""
        assert self.labels is not None, "the reader gives it"
        words = self.archived.record.content_sha256.encode() + self.labels.read_bytes()
        return hashlib.sha256(words).hexdigest()


def read_dce_mri(folder: Path) -> Dataset:
    """Read ``archive.zarr`` and ``truth/SOP_INSTANCE_UID.npy`` for each of its volumes.

    A patient is named by the least Study Instance UID of the volumes with the same Patient ID, which itself stays in
    the archive; a volume without one is a patient of its study.

    Raises
    ------
    DatasetError
        When there is no archive, or it has no such volume.

    """
    try:
        archive = open_archive(folder / ARCHIVE)
    except ArchiveError as error:
        raise DatasetError(
            f"{ARCHIVE}: cannot be opened: ingest the DICOM objects first, into {ARCHIVE} beside the folder truth"
        ) from error
    samples: list[Sample] = []
    left_out = []
    volumes = list(archive.volumes())
    patients = _patients(volumes)
    for volume, patient in zip(volumes, patients, strict=True):
        name, truth = volume.record.sop_uid, folder / "truth" / f"{volume.record.sop_uid}.npy"
        if truth.is_file():
            samples.append(
                VolumeSample(name=name, patient=patient, image=folder / ARCHIVE, labels=truth, archived=volume)
            )
        else:
            left_out.append(LeftOut(name, "the folder truth has no .npy of its SOP Instance UID"))
    return dataset("dce-mri", samples, left_out)


def _patients(volumes: Sequence[ArchiveVolume]) -> list[str]:
    """Return whose each volume is, told apart by Patient ID and named by a study."""
    unknown = patient_of(Header())
    studies: dict[bytes, str] = {}
    whose = []
    for volume in volumes:
        study = volume.record.study_uid
        try:
            patient = patient_of(volume.header)
        except ImageError:  # told where it is read for what it shows
            patient = unknown
        whose.append(study.encode() if patient == unknown else patient)
        studies[whose[-1]] = min(study, studies.get(whose[-1], study))
    return [studies[patient] for patient in whose]
