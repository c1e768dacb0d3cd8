"""Breast DCE-MRI: phantoms of ``mammofast phantom --kind dce-mri`` in the archive that ``mammofast ingest`` made."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mammofast.archive import ArchiveVolume, open_archive
from mammofast.datasets.record import Dataset, LeftOut, Sample, dataset
from mammofast.errors import ArchiveError, DatasetError

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
    """Read ``archive.zarr`` and ``truth/SOP_INSTANCE_UID.npy`` for each of its volumes; each study is a patient.

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
    for volume in archive.volumes():
        name, truth = volume.record.sop_uid, folder / "truth" / f"{volume.record.sop_uid}.npy"
        if truth.is_file():
            samples.append(
                VolumeSample(
                    name=name, patient=volume.record.study_uid, image=folder / ARCHIVE, labels=truth, archived=volume
                )
            )
        else:
            left_out.append(LeftOut(name, "the folder truth has no .npy of its SOP Instance UID"))
    return dataset("dce-mri", samples, left_out)
