"""CBIS-DDSM (Lee et al. 2017): DICOM images, mask objects and tables of cases.

What its users stumble over, and what is done here:

- The tables name files by paths that the archive no longer has; only the first folder of a path is taken, and files are
  told apart by what they are.
- Masks and cropped images lie in one folder, and the tables mix them up: the mask is the object of two values.
- Some masks are not of their image's size: they are stretched where the proportion is right.
- An image of which a mask is missing or wrong is left out whole: its truth would be a part of the truth.
- An image with several abnormalities has several rows, some rows stand twice, and one image may be listed with masses
  and with calcifications: it is one sample here, with each lesion once.
- The same image may stand in the training and the test table: its lesions then count for training only, and are named
  among what is left out.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mammofast.datasets.pixels import read_header, read_pixels
from mammofast.datasets.record import MASS, Dataset, LeftOut, Lesion, MaskFile, Sample, dataset, in_proportion
from mammofast.errors import DatasetError

_TABLES = {
    "mass_case_description_train_set.csv": "train",
    "mass_case_description_test_set.csv": "test",
    "calc_case_description_train_set.csv": "train",
    "calc_case_description_test_set.csv": "test",
}
_ATTRIBUTES = {
    "mass shape": "shape",
    "mass margins": "margin",
    "calc type": "type",
    "calc distribution": "distribution",
    "assessment": "birads",
    "subtlety": "subtlety",
    "pathology": "pathology",
}
_DENSITY = ("breast_density", "breast density")  # with and without the underscore, as the tables have it


@dataclass(slots=True)
class _Image:
    """One mammogram as the tables' rows add up to it."""

    patient: str
    side: str
    view: str
    split: str
    folder: str
    density: str
    # By kind and number: the folder of the mask, and what the table says.
    lesions: dict[tuple[str, str], tuple[str, dict[str, str]]] = field(default_factory=dict)


def read_cbis_ddsm(folder: Path) -> Dataset:
    """Read CBIS-DDSM: the four tables of cases beside the folders of its objects, at any depth below.

    Raises
    ------
    DatasetError
        When no table is there.

    """
    tables = [name for name in _TABLES if (folder / name).is_file()]
    if not tables:
        raise DatasetError(f"CBIS-DDSM: found none of {', '.join(_TABLES)} in the folder")
    places = {path.name: path for path in folder.rglob("*") if path.is_dir() and "_P_" in path.name}
    images: dict[tuple[str, str, str], _Image] = {}
    left_out: list[LeftOut] = []
    # Training tables first: what stands in both stays there.
    for name in sorted(tables, key=lambda name: _TABLES[name] == "test"):
        for row in _rows(folder / name):
            _take(row, _TABLES[name], images, left_out)
    samples = []
    for (patient, side, view), image in images.items():
        name = f"{patient}_{side}_{view}"
        try:
            path, lesions = _found(image, places)
        except DatasetError as error:
            left_out.append(LeftOut(name, str(error)))
            continue
        attributes = {"density": image.density}
        samples.append(Sample(name, patient, path, side, view, image.split, lesions, attributes=attributes))
    return dataset("CBIS-DDSM", samples, left_out)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            yield {key.strip(): (value or "").strip() for key, value in row.items() if key is not None}


def _take(row: dict[str, str], split: str, images: dict[tuple[str, str, str], _Image], left_out: list[LeftOut]) -> None:
    """Add a row to its image."""
    try:
        patient, side, view = row["patient_id"], row["left or right breast"][0], row["image view"]
        place, mask_place = (row[f"{name} file path"].split("/")[0] for name in ("image", "ROI mask"))
        number, kind = row["abnormality id"], row["abnormality type"]
        density = next(row[name] for name in _DENSITY if name in row)
    except (KeyError, IndexError, StopIteration) as error:
        raise DatasetError("CBIS-DDSM: a table has not the columns known") from error
    image = images.setdefault((patient, side, view), _Image(patient, side, view, split, place, density))
    if image.split != split:
        left_out.append(LeftOut(f"{patient}_{side}_{view}_{number}", "its image is a training image: not for tests"))
        return
    attributes = {ours: row[theirs] for theirs, ours in _ATTRIBUTES.items() if row.get(theirs)}
    image.lesions.setdefault((kind, number), (mask_place, attributes))


def _found(image: _Image, places: dict[str, Path]) -> tuple[Path, tuple[Lesion, ...]]:
    """Return an image's file and lesions.

    Raises
    ------
    DatasetError
        When the image or one of its masks is missing, or a mask is not this image's.

    """
    files = _files(places.get(image.folder))
    if not files:
        raise DatasetError("the image is missing", image.folder)
    lesions = []
    for (kind, number), (place, attributes) in image.lesions.items():
        mask = _mask(_files(places.get(place)), f"{kind} {number}", place)
        sizes = _size(mask), _size(files[0])
        if not in_proportion(*sizes):
            raise DatasetError(f"{kind} {number}: got a mask of {sizes[0]}, the image is {sizes[1]}: another's?", place)
        lesions.append(Lesion(MASS if kind == "mass" else kind, MaskFile(mask), attributes))
    return files[0], tuple(lesions)


def _files(place: Path | None) -> list[Path]:
    return [] if place is None else sorted(place.rglob("*.dcm"))


def _mask(files: list[Path], lesion: str, place: str) -> Path:
    """Return the one that is a mask: stated by the series, else seen by its two values, black and not."""
    if not files:
        raise DatasetError(f"{lesion}: the mask is missing", place)
    masks = [path for path in files if "mask" in str(read_header(path).get("SeriesDescription", "")).lower()]
    if len(masks) != 1:
        masks = [path for path in files if _is_mask(path)]
    if len(masks) != 1:
        raise DatasetError(f"{lesion}: got {len(masks)} masks among {len(files)} objects, expected one", place)
    return masks[0]


def _size(path: Path) -> tuple[int, int]:
    header = read_header(path)
    try:
        return int(header.Rows), int(header.Columns)
    except Exception as error:  # missing, empty, or pydicom cannot read it
        raise DatasetError(
            f"Rows and Columns of an object cannot be read ({type(error).__name__})", path.name
        ) from error


def _is_mask(path: Path) -> bool:
    values = np.unique(read_pixels(path))
    return len(values) <= 2 and values[0] == 0
