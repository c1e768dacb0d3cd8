"""The whole detection stage, redone slowly with OpenCV, NumPy and scikit-image, against the method's candidates."""

import math
from fractions import Fraction

import cv2
import numpy as np
import onnxruntime
import pytest
from skimage.measure import label, regionprops

from mammofast import open_bundle
from mammofast.records import tight_box
from tests.methods.by_hand import level_of

SCALES = [(320, 160), (512, 256), (640, 320)]


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def candidates(image, detector, level, anchor, threshold=0.3, nms_iou=0.05, fusion=Fraction(3, 5)):
    """Return (box, score, confidence) of every candidate, P4 by the letter on a dense raster."""
    pixels = level_of(image, level)
    rest = np.sort(pixels[pixels > pixels.min()])
    low, high = np.percentile(rest, [1, 99.5], method="inverted_cdf")
    grey = np.clip((pixels - low) / (high - low), 0, 1).astype(np.float32)
    session = onnxruntime.InferenceSession(detector)
    pooled = []
    for rows, cols in SCALES:
        scaled = cv2.resize(grey, (cols, rows), interpolation=cv2.INTER_AREA)
        head = session.run(["stride_8"], {"image": scaled[None, None]})[0][0]
        found = []
        for row in range(rows // 8):
            for col in range(cols // 8):
                tx, ty, _, _, to, tc = (1 / (1 + math.exp(-float(v))) for v in head[:6, row, col])
                if to * tc >= threshold:
                    x, y = (tx + col) * 8, (ty + row) * 8
                    found.append(
                        (to * tc, (x - anchor[0] / 2, y - anchor[1] / 2, x + anchor[0] / 2, y + anchor[1] / 2))
                    )
        kept = []
        for confidence, box in sorted(found, key=lambda item: -item[0]):
            if all(iou(box, other) <= nms_iou for _, other in kept):
                kept.append((confidence, box))
        fx, fy = pixels.shape[1] * 2**level / cols, pixels.shape[0] * 2**level / rows
        pooled += [(c, (b[0] * fx, b[1] * fy, b[2] * fx, b[3] * fy)) for c, b in kept]

    canvas = np.zeros(image.shape, np.int64)
    strongest = 0
    for confidence, box in pooled:
        x0, y0, x1, y1 = (max(math.floor(v + 0.5), 0) for v in box)
        q = math.floor(confidence * 2**20 + 0.5)
        canvas[y0:y1, x0:x1] += q
        strongest = max(strongest, q)
    mass = (canvas > 0) & (canvas * fusion.denominator >= fusion.numerator * len(SCALES) * strongest)
    result = []
    for region in regionprops(label(mass, connectivity=2), intensity_image=canvas):
        y0, x0, y1, x1 = region.bbox
        peak = int(region.intensity_max)
        result.append(((x0, y0, x1, y1), peak / (len(SCALES) * strongest), peak / (len(SCALES) * 2**20)))
    return sorted(result, key=lambda r: (r[0][1], r[0][0], r[0][3], r[0][2]))


@pytest.mark.parametrize(
    ("shape", "level", "ellipses"),
    [
        ((1301, 977), 1, ((300, 300, 90, 120), (640, 950, 70, 80))),
        ((1403, 1001), 1, ((10, 15, 120, 150), (940, 1390, 90, 120))),  # cut by the image's corners
        ((2563, 1285), 2, ((500, 700, 150, 200),)),
        ((700, 350), 0, ((150, 300, 40, 60),)),
    ],
)
def test_candidates_equal_the_paper_by_the_letter(make_bundle, networks, bright_image, shape, level, ellipses):
    image, _ = bright_image(shape=shape, ellipses=ellipses)
    detector = networks["detector"]()
    anchors = [[44, 88]] * 9  # equal anchors tie: the first of each cell wins, as it must
    expected = candidates(image, detector, level, anchors[0])
    assert len(expected) >= len(ellipses)
    with open_bundle(make_bundle(detector=detector, anchors=anchors, crop_margin=0.4)) as screener:
        result = screener.screen(image)
    assert [f.box for f in result.findings] == [box for box, _, _ in expected]
    np.testing.assert_allclose([f.score for f in result.findings], [s for _, s, _ in expected], rtol=1e-4)
    np.testing.assert_allclose([f.confidence for f in result.findings], [c for _, _, c in expected], rtol=1e-4)
    # The box of a mask is where the bright pixels are, the image's edge included.
    with open_bundle(make_bundle(detector=detector, anchors=anchors, crop_margin=0.4, box="mask")) as screener:
        masked = screener.screen(image)
    for finding, (x, y, a, b) in zip(masked.findings, ellipses, strict=True):
        truth = (max(x - a, 0), max(y - b, 0), min(x + a + 1, shape[1]), min(y + b + 1, shape[0]))
        np.testing.assert_allclose(finding.box, truth, atol=4)


@pytest.mark.parametrize("seed", range(50))
def test_tight_box_is_scikit_images(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 9, 2)) < 0.2
    mask[rng.integers(mask.shape[0]), rng.integers(mask.shape[1])] = True
    y0, x0, y1, x1 = regionprops(mask.astype(np.uint8))[0].bbox
    assert tight_box(mask, 100, 200) == (100 + x0, 200 + y0, 100 + x1, 200 + y1)
