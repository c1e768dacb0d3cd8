"""What is seen: pictures, and presentation states as DCMTK's and highdicom's readers apply them."""

import numpy as np
import pytest
from highdicom.pr import GrayscaleSoftcopyPresentationState
from pydicom import Dataset

from mammofast.records import GreyPipeline, ImageResult
from mammofast.report.dicom.gsps import presentation_state
from mammofast.report.dicom.picture import outlined, picture
from mammofast.report.pictures import grey_picture
from tests.report.dicom.conftest import some_findings
from tests.report.dicom.headers import STYLES, mammogram


def shown(state, stored, bits):
    """Return what a viewer makes of stored values by a presentation state, 0 to 1 (PS3.4 N.2, PS3.3 C.11)."""
    values = stored.astype(float)
    if "RescaleSlope" in state:
        values = values * float(state.RescaleSlope) + float(state.RescaleIntercept)
    if "SoftcopyVOILUTSequence" in state:
        (voi,) = state.SoftcopyVOILUTSequence
        if "VOILUTSequence" in voi:
            entries, first, depth = voi.VOILUTSequence[0].LUTDescriptor
            data = np.frombuffer(voi.VOILUTSequence[0].LUTData, "<u2")[: entries or 65536]
            values = data[np.clip(values.astype(int) - first, 0, len(data) - 1)] / (2**depth - 1)
        else:
            c, w, function = float(voi.WindowCenter), float(voi.WindowWidth), voi.get("VOILUTFunction", "LINEAR")
            values = {
                "LINEAR": lambda: np.clip((values - (c - 0.5)) / (w - 1) + 0.5, 0, 1),
                "LINEAR_EXACT": lambda: np.clip((values - c) / w + 0.5, 0, 1),
                "SIGMOID": lambda: 1 / (1 + np.exp(-4 * (values - c) / w)),
            }[function]()
    return 1 - values if state.PresentationLUTShape == "INVERSE" else values


@pytest.mark.parametrize("style", ["modern", "older codes", "plain tags", "unicode", "computed radiography"])
def test_a_presentation_state_shows_the_image_as_it_shows_itself(study, style):
    given = study([mammogram(style)], 1)
    (image,) = given.images
    state = presentation_state(given, image)
    stored = image.source.read()
    expected = image.source.grey_table(GreyPipeline()).apply(stored)
    assert np.abs(shown(state, stored, 12) - expected).max() < 1e-4


def test_an_image_without_a_window_gets_one_that_shows_it(study):
    given = study([mammogram("for processing")], 1)
    (image,) = given.images
    greys = shown(presentation_state(given, image), image.source.read(), 14)
    assert np.abs(greys - grey_picture(image.source, 0) / 255.0).max() < 0.01


@pytest.mark.parametrize("style", STYLES)
def test_marks_are_labelled_and_the_notice_is_shown(study, style):
    given = study([mammogram(style)], 2)
    (image,) = given.images
    state = presentation_state(given, image)
    assert isinstance(state, GrayscaleSoftcopyPresentationState)
    texts = [t.UnformattedTextValue for a in state.GraphicAnnotationSequence for t in a.TextObjectSequence]
    confidences = [f"{n}: {finding.confidence:.2f}" for n, finding in enumerate(image.findings, 1)]
    assert texts == [*confidences, "Not for diagnosis."]


def test_the_picture_is_the_image_with_white_outlines_that_hide_no_finding(study):
    given = study([mammogram()], 2)
    (image,) = given.images
    dataset = picture(given, image)
    drawn, plain = dataset.pixel_array, grey_picture(image.source, 0)
    mask = ImageResult((96, 80), image.findings).mask
    assert (drawn[mask] == plain[mask]).all()
    changed = drawn != plain
    assert changed.any()
    assert set(np.unique(drawn[changed])) <= {0, 255}
    from scipy.ndimage import distance_transform_cdt

    distance = distance_transform_cdt(~mask, "chessboard")
    assert (drawn[(distance >= 1) & (distance <= 2)] == 255).all()
    assert (drawn[distance == 3] == 0).all()
    assert (drawn[distance > 3] == plain[distance > 3]).all()


def test_a_large_image_is_reduced_and_its_spacing_grows(night):
    shape = (2300, 900)
    pixels = np.random.default_rng(0).integers(1, 4000, shape)
    image = mammogram(pixels=pixels, PixelSpacing=[0.05, 0.1])
    (study,) = night.screen([image], lambda r: ImageResult(shape, some_findings(1, shape)))
    dataset = picture(study, study.images[0])
    assert (dataset.Rows, dataset.Columns) == (1150, 450)
    assert list(dataset.PixelSpacing) == [0.1, 0.2]
    assert dataset.BurnedInAnnotation == "NO"
    assert dataset.ImageComments == "Not for diagnosis."
    grey = np.full((1150, 450), 7, np.uint8)
    assert (outlined(grey, study.images[0], 1) == 255).any()


def test_an_image_that_cannot_be_shown_has_no_picture(study):
    given = study([mammogram(WindowWidth=["0", "0"])], 1)
    (image,) = given.images
    assert picture(given, image) is None
    state = presentation_state(given, image)
    assert "SoftcopyVOILUTSequence" not in state
    assert isinstance(state, Dataset)
