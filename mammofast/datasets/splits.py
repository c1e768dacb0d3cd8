"""Which patients train and which test: decided by a seed, written to a file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mammofast.datasets.record import Dataset
from mammofast.errors import DatasetError

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Split:
    """Names of samples that train and that test."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def random_splits(data: Dataset, count: int = 5, train: float = 0.7, seed: int = 0) -> tuple[Split, ...]:
    """Return splits drawn one by one, P4's five of 70 % and 30 %, each by patients.

    P4 counts images (74 and 33) and does not say whether patients were kept together; here they are.

    Raises
    ------
    DatasetError
        When there are too few patients for both sides.

    """
    patients = _patients(data)
    n = round(train * len(patients))
    if not 0 < n < len(patients):
        raise DatasetError(f"{data.name}: {len(patients)} patients cannot be split into {train:.0%} and the rest")
    rng = np.random.default_rng(seed)
    return tuple(_split(data, {patients[i] for i in rng.permutation(len(patients))[n:]}) for _ in range(count))


def folds(data: Dataset, count: int = 5, seed: int = 0) -> tuple[Split, ...]:
    """Return splits such that each patient tests in exactly one, P2's and P5's cross-validation.

    Raises
    ------
    DatasetError
        When there are fewer patients than folds.

    """
    patients = _patients(data)
    if not 1 < count <= len(patients):
        raise DatasetError(f"{data.name}: got {count} folds for {len(patients)} patients, expected 2 to that many")
    order = np.random.default_rng(seed).permutation(len(patients))
    return tuple(_split(data, {patients[i] for i in order[k::count]}) for k in range(count))


def own_split(data: Dataset) -> Split:
    """Return the data set's own split: "test" tests, all that it calls otherwise trains.

    Raises
    ------
    DatasetError
        When it has none.

    """
    test = tuple(sample.name for sample in data if sample.split == "test")
    if not test or len(test) == len(data):
        raise DatasetError(f"{data.name}: has no split of its own; draw one")
    return Split(tuple(sample.name for sample in data if sample.split != "test"), test)


def write_splits(path: Path, data: Dataset, splits: Sequence[Split]) -> None:
    """Write splits as JSON, with the name of their data set."""
    content = {"format": _FORMAT, "dataset": data.name, "splits": [asdict(split) for split in splits]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_splits(path: Path, data: Dataset) -> tuple[Split, ...]:
    """Read splits of a data set.

    Raises
    ------
    DatasetError
        When they are another data set's, name images that it does not have, or name one on both sides.

    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT or content["dataset"] != data.name:
            raise DatasetError(
                f"{path.name}: got format {content['format']} of {content['dataset']}, expected format {_FORMAT} of "
                f"{data.name}, whose splits write_splits writes"
            )
        splits = tuple(Split(tuple(split["train"]), tuple(split["test"])) for split in content["splits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path.name}: is no file of splits ({type(error).__name__})") from error
    known = {sample.name for sample in data}
    for split in splits:
        if missing := {*split.train, *split.test} - known:
            raise DatasetError(
                f"{path.name}: {len(missing)} of the images that it names are not in {data.name}; expected the data "
                "set that it was drawn from, whole",
                min(missing),
            )
        if twice := set(split.train) & set(split.test):
            raise DatasetError(
                f"{path.name}: {len(twice)} images train and test, expected one or the other", min(twice)
            )
    return splits


def read_split(name: str, data: Dataset) -> Split:
    """Read one split of a data set: ``FILE#k`` is the k-th of a file, counted from 1 as the papers' T1 to T5 are.

    A file of one split needs no number.

    Raises
    ------
    DatasetError
        When there is no such file or split, or as :func:`read_splits`.

    """
    file, _, number = name.rpartition("#") if "#" in name else (name, "", "1")
    splits = read_splits(Path(file), data)
    if (len(splits) > 1 and "#" not in name) or not number.isdecimal() or not 1 <= int(number) <= len(splits):
        raise DatasetError(f"{Path(name).name}: expected FILE#1 to FILE#{len(splits)}, the splits that the file holds")
    return splits[int(number) - 1]


def _patients(data: Dataset) -> list[str]:
    return sorted({sample.patient for sample in data})


def _split(data: Dataset, testing: set[str]) -> Split:
    return Split(
        tuple(sample.name for sample in data if sample.patient not in testing),
        tuple(sample.name for sample in data if sample.patient in testing),
    )
