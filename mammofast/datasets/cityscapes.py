"""Cityscapes (Cordts et al. 2016) with the 19 classes that are evaluated, P3's first data set."""

from pathlib import Path

from mammofast.datasets.record import Dataset, LeftOut, Sample, dataset

# By the identity that labelIds pictures hold; all others do not count.
CLASSES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
_NUMBERS = {identity: number for number, identity in enumerate(CLASSES)}


def read_cityscapes(folder: Path) -> Dataset:
    """Read Cityscapes: ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png``, ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png``.

    A city is taken for a patient, so that a split by patients never has a street on both sides.

    Raises
    ------
    DatasetError
        When it is not there.

    """
    samples, left_out = [], []
    for path in sorted((folder / "leftImg8bit").glob("*/*/*_leftImg8bit.png")):
        split, city = path.parts[-3:-1]
        name = path.name.removesuffix("_leftImg8bit.png")
        labels = folder / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
        if labels.is_file():
            samples.append(Sample(name, city, path, split=split, labels=labels, classes=_NUMBERS))
        else:
            left_out.append(LeftOut(name, "the picture of its labels is missing"))
    return dataset("Cityscapes", samples, left_out)
