"""Samples as images, of the kind that is asked for and no other."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from mammofast.datasets import Sample
from mammofast.datasets.dce_mri import VolumeSample
from mammofast.datasets.images import colours_of, source_of
from mammofast.errors import DatasetError


def test_another_kind_is_said_without_a_name(png):
    grey, colours = png("SECRET1.png", np.zeros((2, 3), np.uint8)), png("SECRET2.png", np.zeros((2, 3, 3), np.uint8))
    volume = VolumeSample(name="SECRET3", patient="SECRET", image=Path("archive.zarr"), archived=None)
    for read, sample, words in (
        (source_of, Sample("SECRET2", "SECRET", colours), "got an image with colours, expected shades of grey"),
        (colours_of, Sample("SECRET1", "SECRET", grey), "got shades of grey, expected colours"),
        (source_of, volume, "got a volume, expected an image: give a data set of mammograms"),
        (source_of, Sample("SECRET4", "SECRET", Path("SECRET4.dcm")), "the image cannot be read (No such file"),
    ):
        with pytest.raises(DatasetError) as error:
            read(sample)
        assert str(error.value).startswith(words)
        assert "SECRET" not in str(error.value)
        assert error.value.of == sample.name


def test_an_error_is_the_same_in_another_process():
    error = pickle.loads(pickle.dumps(DatasetError("got nothing", "SECRET")))
    assert (str(error), error.of) == ("got nothing", "SECRET")
