"""Every kind of header, transfer syntax and VOI: no errors in dciodvfy, and the right modules."""

import dataclasses
import itertools
import shutil
import subprocess

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, HTJ2KLossless

from mammofast.phantom.dicom import derived_uid, sop_uid, study_uid, write_image
from mammofast.phantom.display import VOI_KINDS, Display
from mammofast.phantom.encode import SYNTAXES
from mammofast.phantom.plan import plan_studies

VIEWS = plan_studies(1, 8)[0]
NEEDS_DCIODVFY = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="DICOM conformance is not checked: install dciodvfy (Debian dicom3tools)"
)


def write(path, view, syntax, voi, photometric="MONOCHROME2"):
    display = dataclasses.replace(Display.draw(np.random.default_rng(1)), voi=voi, photometric=photometric)
    image = np.random.default_rng(0).random((48, 40), np.float32)
    pixels = display.store(image)
    write_image(path, view, pixels, display, syntax)
    return pixels, display


def errors(path):
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert "MammographyImageForPresentation" in lines
    return [line for line in lines if "Error" in line]


@NEEDS_DCIODVFY
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.uid.name)
def test_syntaxes_conform(syntax, tmp_path):
    path = tmp_path / "image.dcm"
    pixels, _ = write(path, VIEWS[0], syntax, "LINEAR")
    if syntax.uid in (DeflatedExplicitVRLittleEndian, HTJ2KLossless):
        # dciodvfy reads neither: check the same data set uncompressed.
        image = dcmread(path)
        image.PixelData = pixels.tobytes()
        image["PixelData"].VR = "OW"
        image["PixelData"].is_undefined_length = False
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.save_as(path)
    assert errors(path) == []


@NEEDS_DCIODVFY
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("voi", VOI_KINDS)
def test_vois_and_views_conform(voi, photometric, tmp_path):
    for i, view in enumerate(VIEWS):
        path = tmp_path / f"{i}.dcm"
        write(path, view, SYNTAXES[0], voi, photometric)
        assert errors(path) == []


@NEEDS_DCIODVFY
def test_dciodvfy_does_see_errors(tmp_path):
    path = tmp_path / "image.dcm"
    write(path, VIEWS[0], SYNTAXES[0], "LINEAR")
    image = dcmread(path)
    del image.ImageLaterality
    image.save_as(path)
    assert errors(path)


def test_header_says_what_the_pixels_are(tmp_path):
    for i, (syntax, view) in enumerate(itertools.product(SYNTAXES, VIEWS)):
        path = tmp_path / f"{i}.dcm"
        pixels, display = write(path, view, syntax, "SIGMOID")
        image = dcmread(path, stop_before_pixels=True)
        assert (image.Rows, image.Columns) == pixels.shape
        assert image.HighBit == image.BitsStored - 1
        assert image.BitsStored == (16 if syntax.whole_words else display.bits)
        assert image.ImagerPixelSpacing == [view.detector.spacing] * 2
        assert image.file_meta.TransferSyntaxUID == syntax.uid
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID == sop_uid(view)
        assert image.StudyInstanceUID == study_uid(view)
        assert image.VOILUTFunction == "SIGMOID"
        assert "PHANTOM" in image.PatientID


def test_uids_follow_from_words_alone():
    assert derived_uid("a", 1) == derived_uid("a", 1)
    assert len({derived_uid(*words) for words in itertools.product("ab", range(50))}) == 100
