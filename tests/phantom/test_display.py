"""Stored values and how they are shown, against pydicom's VOI transformation."""

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian

from mammofast.phantom.dicom import _display
from mammofast.phantom.display import VOI_KINDS, Display


def display(**changes):
    values = {"bits": 12, "photometric": "MONOCHROME2", "voi": "LINEAR", "low": 0.1, "high": 0.9, "gamma": 0.8}
    return Display(**(values | changes))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [12, 14])
@pytest.mark.parametrize("voi", VOI_KINDS)
def test_shown_is_what_pydicom_makes_of_the_header(voi, bits, photometric):
    d = display(voi=voi, bits=bits, photometric=photometric)
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _display(header, d)
    header.BitsStored, header.PixelRepresentation = bits, 0
    header.PhotometricInterpretation = photometric
    stored = np.arange(d.top + 1, dtype=np.uint16)
    shown = np.asarray(apply_voi_lut(stored, header, index=0), float)
    shown = shown / (4095 if voi == "LUT" else d.top)
    if photometric == "MONOCHROME1":
        shown = 1 - shown
    np.testing.assert_allclose(d.shown(), shown, atol=1e-3)
    assert (np.diff(d.shown()) * (-1 if photometric == "MONOCHROME1" else 1) >= 0).all()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_air_alone_is_black_and_brighter_is_denser(photometric):
    d = display(photometric=photometric, voi="NONE")
    image = np.array([[0.0, -0.02, 1e-6, 0.3, 0.8, 2.0]], np.float32)
    stored = d.store(image)
    shown = d.shown()[stored][0]
    assert shown[0] == shown.min()
    assert (shown[1:] > shown[0]).all()
    assert (np.diff(shown[2:]) > 0).all()
    assert stored.dtype == np.uint16
    assert stored.max() <= d.top
    assert image[0, 1] == np.float32(-0.02), "the caller's image is left alone"


@pytest.mark.parametrize("voi", VOI_KINDS)
def test_both_photometrics_look_the_same(voi):
    image = np.linspace(0.01, 1.2, 500, dtype=np.float32)[None]
    looks = []
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        d = display(voi=voi, photometric=photometric, bits=13)
        looks.append(d.shown()[d.store(image)])
    np.testing.assert_allclose(looks[0], looks[1], atol=2e-3)
