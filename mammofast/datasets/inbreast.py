"""INbreast (Moreira et al. 2012): DICOM images, and outlines in property lists that OsiriX wrote."""

import csv
import plistlib
import re
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from mammofast.datasets.record import MASS, Dataset, LeftOut, Lesion, Polygon, Sample, dataset
from mammofast.errors import DatasetError

# 22678622_61b13c59bcba149d_MG_L_CC_ANON.dcm
_NAME = re.compile(r"(?P<id>\d+)_(?P<patient>[0-9a-f]+)_MG_(?P<side>[LR])_(?P<view>[A-Z]+)_ANON", re.IGNORECASE)
# Words of the annotators, misspellings included; single points mark calcifications.
_KINDS = {
    "mass": MASS,
    "calcification": "calcification",
    "calcifications": "calcification",
    "cluster": "cluster",
    "spiculated region": "spiculated region",
    "espiculated region": "spiculated region",
    "asymmetry": "asymmetry",
    "assymetry": "asymmetry",
    "distortion": "distortion",
}
_LEAST_POINTS = 3


def read_inbreast(folder: Path) -> Dataset:
    """Read INbreast: ``AllDICOMs``, ``AllXML`` and, where there is one, ``INbreast.csv``.

    Outlines are OsiriX's ``Point_px``, read with whole numbers at pixel centres. Images without an XML file are normal
    ones, as the data set's paper says. Lesions get the BI-RADS of their image.

    Raises
    ------
    DatasetError
        When it is not there, or its table is not the one known.

    """
    rows = _table(folder / "INbreast.csv")
    samples, left_out = [], []
    for path in sorted((folder / "AllDICOMs").glob("*.dcm")):
        found = _NAME.match(path.stem)
        if found is None:
            left_out.append(LeftOut(path.name, "file name: expected NUMBER_PATIENT_MG_SIDE_VIEW_ANON.dcm"))
            continue
        attributes = rows.get(found["id"], {})
        try:
            lesions = _lesions(folder / "AllXML" / f"{found['id']}.xml", attributes.get("birads"))
        except DatasetError as error:
            left_out.append(LeftOut(path.name, str(error)))
            continue
        view = "MLO" if found["view"].upper() in ("ML", "MLO") else found["view"].upper()
        samples.append(
            Sample(
                found["id"], found["patient"], path, found["side"].upper(), view, None, lesions, attributes=attributes
            )
        )
    return dataset("INbreast", samples, left_out)


def _table(path: Path) -> dict[str, dict[str, str]]:
    """Return what the table says of each image, by its number."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    named = [{(key or "").strip().lower(): (value or "").strip() for key, value in row.items()} for row in rows]
    if named and not {"file name", "bi-rads", "acr"} <= named[0].keys():
        raise DatasetError(f"{path.name}: got columns {sorted(named[0])}, expected 'File Name', 'Bi-Rads' and 'ACR'")
    return {row["file name"]: {"birads": row["bi-rads"], "density": row["acr"]} for row in named}


def _lesions(path: Path, birads: str | None) -> tuple[Lesion, ...]:
    if not path.is_file():
        return ()
    try:
        rois = [roi for image in plistlib.loads(path.read_bytes())["Images"] for roi in image["ROIs"]]
        return tuple(lesion for roi in rois if (lesion := _lesion(roi, birads)) is not None)
    except (plistlib.InvalidFileException, ExpatError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"its XML is no property list of outlines ({type(error).__name__})", path.name) from error


def _lesion(roi: dict[str, Any], birads: str | None) -> Lesion | None:
    """Return an outline as a lesion; None for what has no area, single calcifications for example."""
    points = tuple(_point(text) for text in roi["Point_px"])
    if len(points) < _LEAST_POINTS:
        return None
    name = str(roi.get("Name", "")).strip().lower()
    return Lesion(_KINDS.get(name, name or "unnamed"), Polygon(points), {} if birads is None else {"birads": birads})


def _point(text: str) -> tuple[float, float]:
    """Read "(1234.500000, 987.000000)"."""
    x, y = text.strip().strip("()").split(",")
    return float(x), float(y)
