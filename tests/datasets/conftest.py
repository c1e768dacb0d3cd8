"""Small copies of the data sets' layouts."""

import csv

import imagecodecs
import pytest


@pytest.fixture
def png(tmp_path):
    """Write a picture under tmp_path."""

    def write(name, pixels):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(imagecodecs.png_encode(pixels))
        return path

    return write


@pytest.fixture
def table(tmp_path):
    """Write rows as CSV under tmp_path."""

    def write(name, rows, delimiter=","):
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.fixture
def mammogram(dicom, tmp_path):
    """Write a DICOM object under tmp_path."""

    def write(name, pixels, **attributes):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dicom.dataset(pixels, **attributes).save_as(path, enforce_file_format=True)
        return path

    return write
