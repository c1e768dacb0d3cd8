"""VinDr-Mammo (Nguyen et al. 2023): DICOM images and rectangles in one table."""

import ast
import csv
from collections import defaultdict
from pathlib import Path

from mammofast.datasets.record import BoxRegion, Dataset, LeftOut, Lesion, Sample, dataset
from mammofast.errors import DatasetError

_TABLE = "finding_annotations.csv"
_COLUMNS = {
    *("study_id", "series_id", "image_id", "laterality", "view_position", "height", "width"),
    *("breast_birads", "breast_density", "finding_categories", "finding_birads", "split"),
    *("xmin", "ymin", "xmax", "ymax"),
}
_NOTHING = "No Finding"


def read_vindr(folder: Path) -> Dataset:
    """Read VinDr-Mammo: ``images/STUDY/IMAGE.dicom`` and ``finding_annotations.csv``.

    A rectangle with several categories is a lesion of each. A study is taken for a patient: the data set says no more.

    Raises
    ------
    DatasetError
        When it is not there, or its table is not the one known.

    """
    rows = defaultdict(list)
    try:
        with (folder / _TABLE).open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if missing := _COLUMNS - set(reader.fieldnames or ()):
                raise DatasetError(f"{_TABLE}: has no columns {sorted(missing)}")
            for row in reader:
                rows[row["image_id"]].append(row)
    except OSError as error:
        raise DatasetError(f"{_TABLE}: cannot be read ({error.strerror})") from error
    samples, left_out = [], []
    for name, found in rows.items():
        first = found[0]
        path = folder / "images" / first["study_id"] / f"{name}.dicom"
        if not path.is_file():
            left_out.append(LeftOut(name, "the image is missing"))
            continue
        try:
            lesions = tuple(lesion for row in found for lesion in _lesions(row))
        except (ValueError, SyntaxError) as error:
            left_out.append(LeftOut(name, f"a row of {_TABLE} cannot be read ({type(error).__name__})"))
            continue
        split = "train" if first["split"] == "training" else first["split"]
        attributes = {"birads": first["breast_birads"], "density": first["breast_density"]}
        samples.append(
            Sample(
                *(name, first["study_id"], path, first["laterality"], first["view_position"], split, lesions),
                attributes=attributes,
            )
        )
    return dataset("VinDr-Mammo", samples, left_out)


def _lesions(row: dict[str, str]) -> list[Lesion]:
    categories = ast.literal_eval(row["finding_categories"])
    if not isinstance(categories, list):
        raise ValueError("finding_categories: expected a list")
    if _NOTHING in categories:
        return []
    x_min, y_min, x_max, y_max = (round(float(row[key])) for key in ("xmin", "ymin", "xmax", "ymax"))
    attributes = {"birads": row["finding_birads"]} if row["finding_birads"] else {}
    return [Lesion(str(name).lower(), BoxRegion((x_min, y_min, x_max, y_max)), attributes) for name in categories]
