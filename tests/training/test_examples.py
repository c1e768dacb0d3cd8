import os

import imagecodecs
import numpy as np
import pytest

from mammofast.datasets import read_folder
from mammofast.errors import TrainingError
from mammofast.training.examples import digest_of, prepare


class Counting:
    """A task's part that makes examples."""

    preparation = {"size": 3}  # noqa: RUF012

    def __init__(self):
        self.calls = []

    def prepare(self, sample):
        self.calls.append(sample.name)
        pixels = sample.read()
        return [{"pixels": pixels, "none": np.zeros((0, 4), np.float32)}, {"half": pixels[:2]}]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    for place in ("images", "masks"):
        (folder / place).mkdir(parents=True)
        for k in range(3):
            pixels = np.full((4, 5), 10 * k + (place == "masks"), np.uint8)
            (folder / place / f"SECRET^NAME{k}.png").write_bytes(imagecodecs.png_encode(pixels))
    return folder


def test_examples_are_made_once(folder, tmp_path):
    data, store, task, done = read_folder(folder), tmp_path / "store", Counting(), []
    first = prepare(task, data.samples, store, done.append)
    assert len(first.examples) == 6
    assert sum(done) == 3
    again = prepare(task, data.samples, store)
    assert len(task.calls) == 3, "the second time they were found"
    assert again.digests == first.digests
    for one, other in zip(first.examples, again.examples, strict=True):
        assert list(one) == list(other)
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert first.examples[0]["none"].shape == (0, 4)
    assert np.array_equal(first.examples[3]["half"], data.samples[1].read()[:2])
    with pytest.raises(ValueError, match="read-only"):
        first.examples[0]["pixels"][0, 0] = 1
    other = Counting()
    other.preparation = {"size": 4}
    prepare(other, data.samples, store)
    assert len(other.calls) == 3, "another preparation is another example"
    assert not [path for path in store.iterdir() if path.name.startswith(".")]


def test_who_may_read_examples_says_the_umask(folder, tmp_path):
    before = os.umask(0o027)
    try:
        prepare(Counting(), read_folder(folder).samples, tmp_path / "store")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "store").rglob("*") if path.is_dir()} == {0o750}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "store").rglob("*.npy")} == {0o640}


def test_a_digest_is_of_the_content(folder):
    before = [digest_of(sample) for sample in read_folder(folder)]
    assert len({digest.image for digest in before}) == 3
    (folder / "images" / "SECRET^NAME0.png").rename(folder / "images" / "a.png")
    (folder / "masks" / "SECRET^NAME0.png").rename(folder / "masks" / "a.png")
    assert {digest_of(sample) for sample in read_folder(folder)} == set(before), "whatever it is called"
    (folder / "masks" / "a.png").write_bytes(imagecodecs.png_encode(np.zeros((4, 5), np.uint8)))
    changed = {digest_of(sample) for sample in read_folder(folder)} - set(before)
    (changed,) = changed
    assert changed.image == before[0].image
    assert changed.truth != before[0].truth


def test_what_cannot_be_read_is_left_out_without_its_name(folder, tmp_path):
    (folder / "images" / "SECRET^NAME1.png").write_bytes(b"no picture")
    data = read_folder(folder)
    prepared = prepare(Counting(), data.samples, tmp_path / "store")
    assert len(prepared.digests) == 2
    ((image, reason),) = prepared.left_out
    assert image == digest_of(data.samples[1]).image
    assert reason == "an image or mask cannot be read (ValueError), expected DICOM, PNG, JPEG or TIFF"
    for k in (0, 2):
        (folder / "images" / f"SECRET^NAME{k}.png").write_bytes(b"no picture")
    with pytest.raises(TrainingError, match="none of 3 images can be used") as error:
        prepare(Counting(), data.samples, tmp_path / "store")
    assert "SECRET" not in str(error.value)


def test_an_interrupted_write_leaves_nothing_behind(folder, tmp_path, monkeypatch):
    store = tmp_path / "store"

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space"):
            prepare(Counting(), read_folder(folder).samples, store)
    assert not list(store.iterdir())
    assert len(prepare(Counting(), read_folder(folder).samples, store).examples) == 6
