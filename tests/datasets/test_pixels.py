"""Data sets' DICOM objects are read as an archive reads them."""

import numpy as np
import pytest
from pydicom import dcmread

from mammofast.archive.mammogram import frame_format
from mammofast.archive.reading import read_pixels as archive_pixels
from mammofast.datasets.pixels import read_pixels
from mammofast.errors import DatasetError


@pytest.fixture
def written(tmp_path, dicom):
    def write(**options):
        path = tmp_path / "one.dcm"
        header = dicom.dataset(**options)
        header.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.mark.parametrize("signed", [False, True])
def test_every_lossless_transfer_syntax(written, dicom, signed):
    for name, syntax in dicom.lossless.items():
        pixels = dicom.pixels(signed=signed)
        np.testing.assert_array_equal(read_pixels(written(pixels=pixels, syntax=syntax)), pixels, err_msg=name)


def test_every_lossy_transfer_syntax(written, dicom):
    for name, syntax in dicom.lossy.items():
        bits = 8 if name == "JPEG baseline" else 12
        path = written(pixels=dicom.pixels(bits=bits), syntax=syntax, bits_stored=bits)
        header = dcmread(path)
        np.testing.assert_array_equal(read_pixels(path), archive_pixels(header, frame_format(header)), err_msg=name)


def test_bits_above_bits_stored_are_no_grey(written, dicom):
    """Overlays may lie there (PS3.5 8.1.1)."""
    pixels = dicom.pixels()
    np.testing.assert_array_equal(read_pixels(written(pixels=pixels | np.uint16(0xF000))), pixels)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"syntax": "1.2.840.10008.1.2.4.90", "frame": b"\xff\x4f\xff\x51 cut off"}, "decode"),
        ({"syntax": "1.2.840.10008.1.2.4.100", "frame": b"video"}, "transfer-syntax"),
        ({"Rows": None}, "bad-header"),
        ({"PixelData": None}, "no-pixels"),
    ],
)
def test_what_is_broken_is_said(written, options, words):
    with pytest.raises(DatasetError, match=f"^{words}") as error:
        read_pixels(written(**options))
    assert error.value.of == "one.dcm"


def test_another_file(tmp_path):
    (tmp_path / "one.dcm").write_bytes(b"something else")
    with pytest.raises(DatasetError, match=r"^not-dicom"):
        read_pixels(tmp_path / "one.dcm")
