"""Where the masses are: label images of native size, 0 = no mass, k = mass k, from PNG files or a public data set."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mammofast.datasets import READERS, Sample, read_split
from mammofast.datasets.pixels import read_header
from mammofast.datasets.record import MASS
from mammofast.errors import DatasetError, ResultsError
from mammofast.records import tight_box

Labels = npt.NDArray[np.uint8]
# A folder of SOP_INSTANCE_UID.png.
PNG = "png"
# Data sets of DICOM objects, whose images an archive can hold.
LAYOUTS = (PNG, "inbreast", "cbis-ddsm", "vindr-mammo", "phantoms")


@dataclass(frozen=True, slots=True)
class Known:
    """What a data set says of an image besides where its masses are.

    patient: whose it is, None where that is not said. image: attributes of the image, such as "density" and "view".
    masses: attributes of each mass, such as "shape" and "margin"; label k's are the k-th.
    """

    patient: str | None = None
    image: Mapping[str, str] = field(default_factory=dict)
    masses: tuple[Mapping[str, str], ...] = ()


class Truth(Protocol):
    """What is known of images, by SOP Instance UID."""

    def __contains__(self, sop_uid: str) -> bool:
        """Return whether an image's masses are known; it may have none."""

    def labels(self, sop_uid: str, shape: tuple[int, int] | None) -> Labels:
        """Return an image's labels, uint8 (rows, cols). shape: the image's, where it is known.

        Raises
        ------
        ResultsError
            When they cannot be read, or are not of the image's shape.

        """

    def known(self, sop_uid: str) -> Known:
        """Return what else is known of an image."""

    def outside_split(self, sop_uid: str) -> bool:
        """Return whether an image's masses are not known for the sole reason that it does not test in the split."""


class PngTruth:
    """A folder of SOP_INSTANCE_UID.png, 8-bit, as ``mammofast phantom`` writes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, sop_uid: str) -> bool:
        return (self._folder / f"{sop_uid}.png").is_file()

    def labels(self, sop_uid: str, shape: tuple[int, int] | None) -> Labels:
        """See :class:`Truth`."""
        return read_truth(self._folder / f"{sop_uid}.png", shape)

    def known(self, sop_uid: str) -> Known:
        """Return nothing: pictures say no more."""
        return Known()

    def outside_split(self, sop_uid: str) -> bool:
        """Return False: pictures have no split."""
        return False


class DatasetTruth:
    """A data set's lesions of the kind "mass"; VinDr-Mammo's are rectangles.

    samples: those that are known. outside: the data set's others, which do not test in the split.
    """

    def __init__(self, samples: Iterable[Sample], outside: Iterable[Sample] = ()) -> None:
        self.samples = tuple(samples)
        self._samples = _by_uid(self.samples)
        self._others = tuple(outside)

    def __contains__(self, sop_uid: str) -> bool:
        return sop_uid in self._samples

    def labels(self, sop_uid: str, shape: tuple[int, int] | None) -> Labels:
        """See :class:`Truth`."""
        sample = self._samples[sop_uid]
        try:
            if shape is None:
                header = read_header(sample.image)
                shape = int(header.Rows), int(header.Columns)
            return sample.masses(shape)
        except DatasetError as error:
            raise ResultsError(f"truth of {sop_uid}: {error}") from error

    def known(self, sop_uid: str) -> Known:
        """See :class:`Truth`."""
        sample = self._samples[sop_uid]
        image = {name: value for name in ("laterality", "view") if (value := getattr(sample, name))}
        masses = tuple(lesion.attributes for lesion in sample.lesions if lesion.kind == MASS)
        return Known(sample.patient, {**image, **sample.attributes}, masses)

    def outside_split(self, sop_uid: str) -> bool:
        """See :class:`Truth`."""
        return sop_uid in self._outside

    @cached_property
    def _outside(self) -> Collection[str]:
        return _by_uid(self._others).keys()


def _by_uid(samples: Iterable[Sample]) -> dict[str, Sample]:
    found = {}
    for sample in samples:
        with suppress(DatasetError):  # damaged: no image of results is known to be this one
            found[str(read_header(sample.image).get("SOPInstanceUID", ""))] = sample
    return found


def open_truth(folder: str | Path, layout: str = PNG, split: str | None = None) -> Truth:
    """Return the truth that a folder holds.

    layout: one of ``LAYOUTS``. split: FILE#k, of a file that ``write_splits`` wrote: only the images that test in its
    k-th split, counted from 1, are known then.

    Raises
    ------
    DatasetError
        When the folder does not hold such a data set, or the file no such split of it.

    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: got {layout!r}, expected one of {', '.join(LAYOUTS)}")
    if layout == PNG:
        if split is not None:
            raise DatasetError("split: pictures name no patients; give the data set itself and its layout")
        return PngTruth(Path(folder))
    data = READERS[layout](Path(folder))
    if split is None:
        return DatasetTruth(data)
    testing = set(read_split(split, data).test)
    outside = (sample for sample in data if sample.name not in testing)
    return DatasetTruth((sample for sample in data if sample.name in testing), outside)


def read_truth(path: Path, shape: tuple[int, int] | None = None) -> Labels:
    """Return an image's labels, uint8 (rows, cols).

    Raises
    ------
    ResultsError
        When the file cannot be read, or is not of ``shape``, the image's, where that is known.

    """
    import imagecodecs

    try:
        labels: Labels = imagecodecs.png_decode(path.read_bytes())
    except (OSError, RuntimeError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read as PNG ({type(error).__name__})") from error
    if labels.shape != (shape or labels.shape) or labels.ndim != 2 or labels.dtype != np.uint8:
        size = "any shape (rows, cols)" if shape is None else f"the image's {shape}"
        raise ResultsError(f"{path}: got {labels.dtype} of shape {labels.shape}, expected uint8 of {size}")
    return labels


def label_boxes(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return the tight box (x_min, y_min, x_max, y_max), half-open, of every label but 0: (n, 4) by rising label."""
    found = [tight_box(labels == label) for label in np.unique(labels[labels != 0])]
    return np.array(found, dtype=np.int64).reshape(-1, 4)
