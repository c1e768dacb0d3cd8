"""Splits keep patients together, and are the same for a seed."""

from pathlib import Path

import pytest

from mammofast.datasets import Sample, folds, own_split, random_splits, read_split, read_splits, write_splits
from mammofast.datasets.record import dataset
from mammofast.errors import DatasetError


def data(patients=10, views=3, **more):
    samples = [Sample(f"{p:02}-{v}", f"p{p}", Path("x.png"), **more) for p in range(patients) for v in range(views)]
    return dataset("set", samples, [])


def patients(names):
    return {name.split("-")[0] for name in names}


def test_random_splits():
    splits = random_splits(data(), 5, 0.7, seed=1)
    assert len({split.test for split in splits}) == 5
    for split in splits:
        assert sorted(split.train + split.test) == [sample.name for sample in data()]
        assert not patients(split.train) & patients(split.test)
        assert len(patients(split.test)) == 3
    assert random_splits(data(), 5, 0.7, seed=1) == splits != random_splits(data(), 5, 0.7, seed=2)


def test_in_folds_each_patient_tests_once():
    splits = folds(data(11), 5, seed=0)
    tested = [name for split in splits for name in split.test]
    assert sorted(tested) == [sample.name for sample in data(11)]
    assert sum(len(patients(split.test)) for split in splits) == 11
    assert {len(patients(split.test)) for split in splits} == {2, 3}
    assert all(not patients(split.train) & patients(split.test) for split in splits)
    assert folds(data(11), 5, seed=1) != splits == folds(data(11), 5, seed=0)


def test_own_split():
    samples = [Sample(str(i), str(i), Path("x"), split=split) for i, split in enumerate(("train", "test", "val", None))]
    split = own_split(dataset("set", samples, []))
    assert (split.train, split.test) == (("0", "2", "3"), ("1",))
    with pytest.raises(DatasetError, match="no split of its own"):
        own_split(data())


def test_files(tmp_path):
    splits = folds(data(), 3)
    write_splits(tmp_path / "s.json", data(), splits)
    assert read_splits(tmp_path / "s.json", data()) == splits
    with pytest.raises(DatasetError, match=r"s\.json: 3 of the images that it names are not in set") as error:
        read_splits(tmp_path / "s.json", data(9))
    assert error.value.of == "09-0"
    text = (tmp_path / "s.json").read_text()
    (tmp_path / "s.json").write_text(text.replace('"set"', '"other"'))
    with pytest.raises(DatasetError, match="got format 1 of other, expected format 1 of set"):
        read_splits(tmp_path / "s.json", data())
    name = splits[0].test[0]
    (tmp_path / "s.json").write_text(text.replace('"train": [', f'"train": ["{name}",'))
    with pytest.raises(DatasetError, match="1 images train and test, expected one or the other") as error:
        read_splits(tmp_path / "s.json", data())
    assert error.value.of == name
    for broken in ("", "[]", '{"format": 1, "dataset": "set"}'):
        (tmp_path / "s.json").write_text(broken)
        with pytest.raises(DatasetError, match="is no file of splits"):
            read_splits(tmp_path / "s.json", data())


def test_one_split_of_a_file(tmp_path):
    splits = folds(data(), 3)
    path = tmp_path / "s.json"
    write_splits(path, data(), splits)
    assert [read_split(f"{path}#{k}", data()) for k in (1, 2, 3)] == list(splits)
    for name in (str(path), f"{path}#0", f"{path}#4", f"{path}#", f"{path}#-1", f"{path}#x"):
        with pytest.raises(DatasetError, match="expected FILE#1 to FILE#3"):
            read_split(name, data())
    write_splits(path, data(), splits[:1])
    assert read_split(str(path), data()) == splits[0]
    with pytest.raises(DatasetError, match="is no file of splits"):
        read_split(f"{tmp_path}/none.json#1", data())


@pytest.mark.parametrize(
    "draw, words",
    [
        (lambda: random_splits(data(1)), "1 patients cannot be split"),
        (lambda: random_splits(data(3), train=1.0), "3 patients cannot be split"),
        (lambda: folds(data(3), 4), "got 4 folds for 3 patients"),
        (lambda: folds(data(3), 1), "got 1 folds"),
    ],
)
def test_too_few_patients(draw, words):
    with pytest.raises(DatasetError, match=words):
        draw()


@pytest.mark.parametrize("names, count", [("11", 2), ("1122", 2), ("12131", 3)])
def test_two_images_of_one_name(names, count):
    with pytest.raises(DatasetError, match=f"set: got {count} images of one name, expected each name once") as error:
        dataset("set", [Sample(name, str(k), Path("x")) for k, name in enumerate(names)], [])
    assert error.value.of == "1"
