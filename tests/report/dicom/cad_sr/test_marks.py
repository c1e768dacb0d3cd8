"""Where the marks lie, as dcmtk reads them, against the masks that they were made from."""

import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from mammofast.records import Finding, ImageResult
from tests.report.dicom import validators
from tests.report.dicom.conftest import ellipse
from tests.report.dicom.headers import mammogram


def marks(path):
    """Return, by SOP Instance UID, what dcmtk reads of every finding: centre, outline and area."""
    if shutil.which("dsr2xml") is None:
        validators._need("dsr2xml (dcmtk)", None)
    done = subprocess.run(["dsr2xml", "-q", path], capture_output=True, check=True)
    root = ElementTree.fromstring(done.stdout)
    images = {
        image.get("id"): image.find("value/instance").get("uid") for image in root.iter("image") if image.get("id")
    }
    found = {}
    for code in root.iter("code"):
        if code.findtext("concept/value") != "111059":
            continue
        shapes = {item.findtext("concept/value"): item for item in code.findall("scoord")}
        (uid,) = {images[item.find("reference").get("ref")] for item in shapes.values()}
        areas = [n.findtext("value") for n in code.findall("num") if n.findtext("concept/value") == "42798000"]
        (centre,), outline = points(shapes["111010"]), points(shapes["111041"])
        found.setdefault(uid, []).append((centre, outline, float(areas[0]) if areas else None))
    return found


def points(scoord):
    return np.array([[float(number) for number in pair.split("/")] for pair in scoord.findtext("data").split(",")])


def inside(outline, shape):
    """Return the pixels whose middle an outline encloses, bool (rows, cols)."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return Polygon(outline).contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(shape)


def at(x, y, mask, confidence=0.9):
    return Finding((x, y, x + mask.shape[1], y + mask.shape[0]), 1.0, confidence, mask)


def blob(rng, rows, cols):
    """One ragged part without holes: a filled disc with a bitten border."""
    mask = ellipse(rows, cols)
    for row in range(rows):
        line = np.flatnonzero(mask[row])
        mask[row, line[: rng.integers(0, max(1, len(line) // 4))]] = False
    return mask


@pytest.mark.parametrize("shape", [(96, 80), (80, 128)], ids=["portrait", "landscape"])
@pytest.mark.parametrize("side", ["L", "R"])
def test_outlines_enclose_their_masks_to_the_pixel(report, shape, side):
    rng = np.random.default_rng(5)
    found = [at(3, 5, ellipse(7, 9)), at(30, 40, blob(rng, 31, 25)), at(0, 0, np.ones((1, 1), bool))]
    found.append(at(shape[1] - 6, shape[0] - 4, np.ones((4, 6), bool)))  # the far corner
    pixels = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape) % 4096
    image = mammogram(laterality=side, pixels=pixels, ImagerPixelSpacing=[0.05, 0.1])
    written = report([image], lambda record: ImageResult(shape, tuple(found)))
    (read,) = marks(written.path).values()
    assert len(read) == len(found)
    for finding, (centre, outline, area) in zip(found, read, strict=True):
        mask = np.zeros(shape, bool)
        x_min, y_min, x_max, y_max = finding.box
        mask[y_min:y_max, x_min:x_max] = finding.mask
        assert np.array_equal(inside(outline, shape), mask)
        assert np.array_equal(outline[0], outline[-1])
        assert (outline >= 0).all()
        assert (outline <= (shape[1], shape[0])).all()
        rows, cols = np.nonzero(mask)
        assert centre == pytest.approx((cols.mean() + 0.5, rows.mean() + 0.5), abs=1e-4)
        assert area == pytest.approx(mask.sum() * 0.05 * 0.1, abs=1e-6)


def test_marks_are_on_the_images_that_they_were_found_in(report):
    places = {("L", "CC"): 3, ("L", "MLO"): 23, ("R", "CC"): 43}
    images = [mammogram(laterality=side, view=view) for side in "LR" for view in ("CC", "MLO")]

    def outcome(record):
        place = places.get((record.laterality, record.view))
        findings = () if place is None else (at(place, 2 * place, ellipse(5, 7)),)
        return ImageResult((record.rows, record.cols), findings)

    written = report(images, outcome)
    read = marks(written.path)
    sides = {header.SOPInstanceUID: (header.ImageLaterality, header.ViewPosition) for header in images}
    assert {sides[uid]: found[0][0].tolist() for uid, found in read.items()} == {
        key: [place + 3.5, 2 * place + 2.5] for key, place in places.items()
    }


def test_of_several_parts_the_largest_is_outlined_and_all_count_for_the_area(report):
    mask = np.zeros((20, 30), bool)
    mask[2:5, 2:5] = True
    mask[8:18, 10:28] = True
    mask[11:14, 15:20] = False  # a hole
    written = report([mammogram()], lambda record: ImageResult((96, 80), (at(10, 20, mask),)))
    (((_, outline, area),),) = marks(written.path).values()
    largest = np.zeros((96, 80), bool)
    largest[28:38, 20:38] = True
    assert np.array_equal(inside(outline, (96, 80)), largest)
    assert area == pytest.approx(mask.sum() * 0.07**2, abs=1e-6)


def test_an_empty_mask_is_marked_by_its_box(report):
    written = report([mammogram()], lambda record: ImageResult((96, 80), (at(10, 20, np.zeros((6, 8), bool)),)))
    (((centre, outline, area),),) = marks(written.path).values()
    assert centre.tolist() == [14, 23]
    assert set(map(tuple, outline)) == {(10, 20), (18, 20), (18, 26), (10, 26)}
    assert area == 0


def test_without_pixel_spacing_no_area_is_given(report):
    written = report([mammogram("empty")], 1)
    (((_, _, area),),) = marks(written.path).values()
    assert area is None


def test_a_very_ragged_mask_fits_into_the_attribute(report):
    comb = np.zeros((90, 78), bool)
    comb[:, ::2] = True
    comb[0] = True
    rng = np.random.default_rng(0)
    ragged = comb & (rng.random(comb.shape) < 0.97) | (np.arange(90) == 0)[:, None]
    written = report([mammogram()], lambda record: ImageResult((96, 80), (at(1, 2, ragged),)))
    assert written.errors() == []
    assert validators.dciodvfy(written.path) == []
