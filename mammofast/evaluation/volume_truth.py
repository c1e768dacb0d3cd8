"""What is known of volumes: the breast region, and masses as labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.datasets import Dataset, Sample, read_split
from mammofast.errors import DatasetError, ResultsError

Labels = npt.NDArray[np.uint8]
# Labels of a volume's truth; k >= MASS is mass k - MASS + 1.
OUTSIDE, BREAST, MASS = 0, 1, 2


class VolumeTruth:
    """A folder of SOP_INSTANCE_UID.npy as ``mammofast phantom --kind dce-mri`` writes them.

    Each is uint8 (slices, rows, cols), in the archive's order of slices: 0 = outside, 1 = breast, 1 + k = mass k, which
    is breast too. The UID is that of the volume's row in the results: its first slice's in its first phase. Beside it
    may lie SOP_INSTANCE_UID.json, whose "patient", or else "study_uid", says whose volume it is.

    folder: where they are. split: FILE#k, of a file that ``write_splits`` wrote for :attr:`data`: only volumes that
    test in its k-th split, counted from 1, are known then.

    Raises
    ------
    DatasetError
        When the file holds no such split of these volumes.

    """

    def __init__(self, folder: str | Path, split: str | None = None) -> None:
        self._folder = Path(folder)
        self._only = None if split is None else frozenset(read_split(split, self.data).test)

    @property
    def data(self) -> Dataset:
        """All volumes, by UID, as what splits are drawn from: P5's five are ``folds(truth.data, 5)``.

        Its name is that of the data set that training reads, so that both take the same splits.
        """
        paths = sorted(self._folder.glob("*.npy"))
        return Dataset("dce-mri", tuple(Sample(p.stem, self.patient(p.stem) or p.stem, p) for p in paths))

    def __contains__(self, sop_uid: str) -> bool:
        """Return whether a volume's masses are known; it may have none."""
        return self._path(sop_uid).is_file() and (self._only is None or sop_uid in self._only)

    def outside_split(self, sop_uid: str) -> bool:
        """Return whether a volume's masses are not known for the sole reason that it does not test in the split."""
        return self._path(sop_uid).is_file() and sop_uid not in self

    def patient(self, sop_uid: str) -> str | None:
        """Return whose a volume is, as far as that is said."""
        try:
            said = json.loads(self._path(sop_uid).with_suffix(".json").read_bytes())
            patient = said.get("patient") or said.get("study_uid")
            return None if patient is None else str(patient)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError) as error:
            raise DatasetError(f"truth of {sop_uid}: its JSON cannot be read ({type(error).__name__})") from error

    def labels(self, sop_uid: str, shape: tuple[int, int, int] | None) -> Labels:
        """Return a volume's labels, uint8 (slices, rows, cols). shape: the volume's, where it is known.

        Raises
        ------
        ResultsError
            When they cannot be read, or are not of the volume's shape.

        """
        path = self._path(sop_uid)
        try:
            labels: Labels = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ResultsError(f"{path}: cannot be read as NPY ({type(error).__name__})") from error
        if labels.shape != (shape or labels.shape) or labels.ndim != 3 or labels.dtype != np.uint8:
            size = "any shape (slices, rows, cols)" if shape is None else f"the volume's {shape}"
            raise ResultsError(f"{path}: got {labels.dtype} of shape {labels.shape}, expected uint8 of {size}")
        return labels

    def _path(self, sop_uid: str) -> Path:
        return self._folder / f"{sop_uid}.npy"


def mass_boxes(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return the tight box of every mass by rising label, (n, 6), half-open.

    Each is (x_min, y_min, z_min, x_max, y_max, z_max).

    labels: (slices, rows, cols), see :class:`VolumeTruth`.
    """
    found = []
    for label in np.unique(labels):
        if label >= MASS:
            edges = [np.flatnonzero((labels == label).any(axis=others)) for others in ((0, 1), (0, 2), (1, 2))]
            found.append([e[0] for e in edges] + [e[-1] + 1 for e in edges])
    return np.array(found, dtype=np.int64).reshape(-1, 6)
