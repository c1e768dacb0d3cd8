"""Plain folders: images with masks of the same name, and phantoms as ``mammofast phantom`` writes them."""

import csv
import json
from collections import defaultdict
from pathlib import Path

from mammofast.datasets.pixels import read_header
from mammofast.datasets.record import MASS, Dataset, LabelRegion, LeftOut, Lesion, MaskFile, Sample, dataset
from mammofast.errors import DatasetError

_IMAGES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom"}


def read_folder(folder: Path) -> Dataset:
    """Read ``images/NAME.*`` and ``masks/NAME.png``, whose pixels that are not 0 are mass.

    ``patients.csv``, where there is one, has columns image and patient; otherwise each image is a patient.

    Raises
    ------
    DatasetError
        When it is not there, or the table has other columns.

    """
    patients = _patients(folder / "patients.csv")
    samples, left_out = [], []
    for path in sorted(p for p in (folder / "images").glob("*") if p.suffix.lower() in _IMAGES):
        mask = folder / "masks" / f"{path.stem}.png"
        if patients is not None and path.stem not in patients:
            left_out.append(LeftOut(path.name, "patients.csv does not name it"))
        elif mask.is_file():
            patient = path.stem if patients is None else patients[path.stem]
            samples.append(Sample(path.stem, patient, path, lesions=(Lesion(MASS, MaskFile(mask)),)))
        else:
            left_out.append(LeftOut(path.name, "the folder masks has no .png of its name"))
    return dataset(folder.name, samples, left_out)


def _patients(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if not {"image", "patient"} <= set(reader.fieldnames or ()):
            raise DatasetError(f"{path.name}: got columns {reader.fieldnames}, expected image and patient")
        return {Path(row["image"]).stem: row["patient"] for row in reader}


def read_phantoms(folder: Path) -> Dataset:
    """Read what ``mammofast phantom`` wrote: objects under ``dicom``, ``truth/SOP_INSTANCE_UID.png`` for each.

    ``truth/masses.json``, where it is there, says what the masses are; subtlety is "subtle" or "plain".

    Raises
    ------
    DatasetError
        When it is not there.

    """
    samples, left_out = [], []
    masses = _masses(folder / "truth")
    for path in sorted((folder / "dicom").rglob("*.dcm")):
        header = read_header(path)
        truth = folder / "truth" / f"{header.SOPInstanceUID}.png"
        if truth.is_file():
            place = header.ImageLaterality, header.ViewPosition
            uid = str(header.SOPInstanceUID)
            samples.append(Sample(uid, header.StudyInstanceUID, path, *place, lesions=tuple(masses[uid]), labels=truth))
        else:
            left_out.append(LeftOut(path.name, "the folder truth has no .png of its SOP Instance UID"))
    return dataset("phantoms", samples, left_out)


def _masses(truth: Path) -> dict[str, list[Lesion]]:
    """Return the masses of each image, by rising label."""
    found: dict[str, list[Lesion]] = defaultdict(list)
    path = truth / "masses.json"
    if path.is_file():
        for mass in sorted(json.loads(path.read_text(encoding="utf-8")), key=lambda mass: mass["mass"]):
            subtlety = "subtle" if mass["subtle"] else "plain"
            region = LabelRegion(truth / f"{mass['sop_uid']}.png", mass["mass"])
            attributes = {"shape": mass["shape"], "margin": mass["margin"], "subtlety": subtlety}
            found[mass["sop_uid"]].append(Lesion(MASS, region, attributes))
    return found
