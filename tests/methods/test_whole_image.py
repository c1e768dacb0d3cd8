"""Whole-image segmentation by thresholds of smoothed brightness, redone with OpenCV, SciPy and scikit-image."""

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.ndimage import uniform_filter
from skimage.measure import label, regionprops

from mammofast import open_bundle
from mammofast.errors import BundleError, Reason
from mammofast.methods.arrays import ArrayImage
from mammofast.settings import Settings
from tests.methods.bundle_folder import write_folder
from tests.methods.by_hand import level_of

SHAPE = (128, 96)
GAIN, BRIGHT = 30.0, 0.7


def smooth_threshold(shape=SHAPE, channels=3, gain=GAIN, sigmoid=True):
    """Probability sigmoid(gain · (mean of 5 × 5 of channel 1 − BRIGHT)); NaN if the first pixel is bright."""
    weight = np.zeros((1, channels, 5, 5), np.float32)
    weight[0, min(1, channels - 1)] = gain / 25
    constants = {
        "weight": weight,
        "bias": np.array([-gain * BRIGHT], np.float32),
        "begin": np.zeros(4, np.int64),
        "end": np.array([2**31, 1, 1, 1], np.int64),
        "top": np.float32(0.5),
        "nil": np.float32(0),
    }
    nodes = [
        helper.make_node("Slice", ["image", "begin", "end"], ["first"]),
        helper.make_node("Sub", ["top", "first"], ["room"]),
        helper.make_node("Sqrt", ["room"], ["root"]),
        helper.make_node("Mul", ["root", "nil"], ["poison"]),
        helper.make_node("Add", ["image", "poison"], ["poisoned"]),
        helper.make_node("Conv", ["poisoned", "weight", "bias"], ["mask" if not sigmoid else "logit"], pads=[2] * 4),
    ]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["logit"], ["mask"]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, *shape])
    mask = helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 1, *shape])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", [image], [mask], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write(folder, content, network=None, **parameters):
    values = {"grey": {}, "scaling": {"channels": 3}, "shape": list(SHAPE), **parameters}
    networks = {"segmenter": (content, network or {})}
    return write_folder(folder, networks, name="w", method="whole_image", parameters=values)


def breast(shape=(1000, 700), masses=((300, 300, 60, 40), (500, 650, 45, 70)), air=20, seed=0):
    """Return a breast that ends before the right edge and the bottom, with bright masses (x, y, a, b)."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, air, shape)
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    inside = (cols < 0.9 * shape[1]) & (rows > 0.1 * shape[0]) & (rows < 0.85 * shape[0])
    image = np.where(inside, 1500 + rng.integers(0, 200, shape), image)
    for x, y, a, b in masses:
        image[((cols - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1] = 3900
    return image.astype(np.uint16)


def stretch(grey, shape):
    """Each axis by itself: OpenCV takes bilinear weights for both where one grows."""
    ways = [
        cv2.INTER_AREA if target < source else cv2.INTER_LINEAR
        for source, target in zip(grey.shape, shape, strict=True)
    ]
    tall = cv2.resize(grey, (grey.shape[1], shape[0]), interpolation=ways[0])
    return cv2.resize(tall, shape[::-1], interpolation=ways[1])


def expected(image, level, background, mean=0.0, threshold=0.5):
    """Return the mask at native resolution and (box, mean probability) of each component, by the letter."""
    pixels = level_of(image, level)
    y0, y1, x0, x1 = 0, pixels.shape[0], 0, pixels.shape[1]
    if background is not None:
        limit = pixels.min() + background * (pixels.max() - pixels.min())
        ys, xs = np.flatnonzero(pixels.max(axis=1) > limit), np.flatnonzero(pixels.max(axis=0) > limit)
        y0, y1, x0, x1 = ys[0], ys[-1] + 1, xs[0], xs[-1] + 1
        finer = level
        while finer and (y1 - y0 < SHAPE[0] or x1 - x0 < SHAPE[1]):
            finer -= 1
            pixels = level_of(image, finer)
            y0, y1 = 2 * y0, min(2 * y1, pixels.shape[0])
            x0, x1 = 2 * x0, min(2 * x1, pixels.shape[1])
        level = finer
    crop = pixels[y0:y1, x0:x1]
    grey = ((crop - crop.min()) / (crop.max() - crop.min())).astype(np.float32)
    grey = stretch(grey, SHAPE) - mean
    smooth = uniform_filter(grey.astype(np.float64), 5, mode="constant")
    probability = (1 / (1 + np.exp(-GAIN * (smooth - BRIGHT)))).astype(np.float32)
    side = 2**level
    height, width = (y1 - y0) * side, (x1 - x0) * side
    native = np.zeros((pixels.shape[0] * side, pixels.shape[1] * side), np.float32)
    nearest = native.copy()
    part = np.s_[y0 * side : y1 * side, x0 * side : x1 * side]
    native[part] = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    rows = ((np.arange(height) + 0.5) * SHAPE[0] / height).astype(int)
    cols = ((np.arange(width) + 0.5) * SHAPE[1] / width).astype(int)
    nearest[part] = probability[np.ix_(rows, cols)]
    native, nearest = (values[: image.shape[0], : image.shape[1]] for values in (native, nearest))
    mask = native >= threshold
    regions = regionprops(label(mask, connectivity=2), intensity_image=nearest)
    boxes = [(r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2]) for r in regions]
    return mask, sorted(zip(boxes, (r.intensity_mean for r in regions), strict=True), key=lambda f: (f[0][1], f[0][0]))


@pytest.mark.parametrize("background", [None, 0.02])
@pytest.mark.parametrize(
    ("shape", "level", "masses"),
    [
        ((1000, 700), 2, ((300, 300, 60, 40), (500, 650, 45, 70))),
        ((1027, 771), 3, ((300, 300, 60, 40), (665, 650, 60, 70))),
        ((257, 201), 1, ((80, 90, 20, 25),)),
        ((120, 300), 0, ((80, 60, 20, 15),)),
        ((1003, 700), 2, ((629, 851, 60, 40), (10, 300, 90, 70))),  # past the breast's corner and at the image's edge
    ],
)
def test_findings_equal_the_same_done_with_other_libraries(tmp_path, shape, level, masses, background):
    image = breast(shape, masses)
    with open_bundle(write(tmp_path / "b", smooth_threshold(), background=background)) as screener:
        result = screener.screen(image)
    mask, regions = expected(image, level, background)
    assert len(regions) == len(masses)
    assert [f.box for f in result.findings] == [box for box, _ in regions]
    assert [f.score for f in result.findings] == [f.confidence for f in result.findings]
    np.testing.assert_allclose([f.confidence for f in result.findings], [c for _, c in regions], atol=1e-4)
    assert np.count_nonzero(result.mask != mask) <= 2e-4 * np.count_nonzero(mask)
    assert result.detections.shape == (0, 6)


class Recorded(ArrayImage):
    def __init__(self, pixels):
        super().__init__(pixels)
        object.__setattr__(self, "reads", [])

    def read(self, level=0, window=None):
        self.reads.append((level, window))
        return super().read(level, window)


def narrow(wide):
    """An image of 1024 × 768 whose breast, of the given width, begins at column 64 and goes from row 128 to 896."""
    image = np.zeros((1024, 768), np.uint16)
    image[128:896, 64 : 64 + wide] = 1500
    image[300:500, 64 : 64 + wide // 2] = 3900
    return image


@pytest.mark.parametrize(
    ("wide", "reads"),
    [
        (704, [(3, None), (2, (16, 32, 192, 224))]),  # rows: 96 of 128 on level 3
        (300, [(3, None), (1, (32, 64, 184, 448))]),  # columns decide: 38 of level 3 are 76 of level 2
        (60, [(3, None), (0, (64, 128, 128, 896))]),  # even the native breast is narrower than the input
    ],
)
def test_a_narrow_breast_is_read_as_fine_as_the_network_sees_it(tmp_path, wide, reads):
    image = Recorded(narrow(wide))
    with open_bundle(write(tmp_path / "b", smooth_threshold(), background=0.02)) as screener:
        result = screener.screen(image)
    assert image.reads == reads
    mask, regions = expected(narrow(wide), 3, 0.02)
    assert [f.box for f in result.findings] == [box for box, _ in regions] != []
    assert np.count_nonzero(result.mask != mask) <= 2e-4 * np.count_nonzero(mask)


def test_a_breast_that_fills_its_level_is_read_once(tmp_path):
    image = Recorded(breast())
    with open_bundle(write(tmp_path / "b", smooth_threshold(), background=0.02)) as screener:
        screener.screen(image)
    assert image.reads == [(2, None)]


def test_crop_and_scaling_are_seen_by_the_network(tmp_path):
    """Bright air that is cut off, and a mean taken off, both change what is found."""
    image = breast()
    cropped = expected(image, 2, 0.02)[1]
    assert cropped != expected(image, 2, None)[1]
    with open_bundle(write(tmp_path / "b", smooth_threshold(), scaling={"channels": 3, "mean": 0.4})) as screener:
        assert screener.screen(image).findings == ()
        assert expected(image, 2, None, mean=0.4)[1] == []
    scaling = {
        "channels": 3,
        "mean": [9, 0.2, 9],
        "std": [1, 0.5, 1],
        "contrast": {"low_percentile": 1, "high_percentile": 99},
    }
    with open_bundle(write(tmp_path / "c", smooth_threshold(), scaling=scaling)) as screener:
        assert len(screener.screen(image).findings) == 2


def test_one_channel_and_stored_values_of_any_sign(tmp_path):
    image = breast()
    folder = write(tmp_path / "b", smooth_threshold(channels=1), scaling={}, background=0.02)
    with open_bundle(folder) as screener:
        found = screener.screen(image).findings
        assert len(found) == 2
        assert screener.screen(image.astype(np.int16) - 2000).findings == found


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_same_bytes_whatever_shares_the_batch(tmp_path, batch):
    images = [breast((900 + 50 * k, 700 - 31 * k), seed=k) for k in range(4)]
    folder = write(tmp_path / "b", smooth_threshold(), background=0.02)
    with open_bundle(folder, settings=Settings(segmentation_batch=batch)) as screener:
        alone = [screener.screen(image) for image in images]
        assert all(result.findings for result in alone)
        assert screener.screen_batch(images) == alone
        assert screener.screen_batch(images[::-1])[::-1] == alone


def test_nan_fails_that_image_only(tmp_path):
    good, bad = breast(), breast()
    folder = write(tmp_path / "b", smooth_threshold())
    bad[:20, :20] = 3900
    for batch in (1, 3):
        with open_bundle(folder, settings=Settings(segmentation_batch=batch)) as screener:
            first, second, third = screener.screen_batch([good, bad, good])
        assert first.error is None
        assert first == third
        assert second.error.startswith(Reason.NOT_FINITE)
        assert second.findings == ()


class Unreadable(ArrayImage):
    def read(self, level=0, window=None):
        raise RuntimeError("Doe^Jane")


def test_an_image_that_cannot_be_read_fails_alone_and_tells_no_names(tmp_path):
    image = breast()
    with open_bundle(write(tmp_path / "b", smooth_threshold())) as screener:
        bad, good = screener.screen_images([Unreadable(image), ArrayImage(image)])
    assert bad.error == "internal: RuntimeError"
    assert len(good.findings) == 2


def test_small_components_are_left_out_by_their_area_in_mm2(tmp_path):
    image = breast(masses=((300, 300, 60, 40), (500, 650, 45, 90)))
    with open_bundle(write(tmp_path / "b", smooth_threshold())) as screener:
        both = screener.screen(image, (0.1, 0.2)).findings
    small, large = sorted(finding.area_px for finding in both)
    limit = small * 0.1 * 0.2
    for least, areas in ((limit, [small, large]), (limit * 1.0001, [large])):
        with open_bundle(write(tmp_path / f"b{least}", smooth_threshold(), min_area_mm2=least)) as screener:
            assert sorted(finding.area_px for finding in screener.screen(image, (0.1, 0.2)).findings) == areas
            assert screener.screen_batch([image])[0].error.startswith(Reason.BAD_HEADER)


def test_a_constant_crop_and_tiny_images_do_not_fail(tmp_path):
    with open_bundle(write(tmp_path / "b", smooth_threshold(), background=0.5)) as screener:
        for shape in [(1, 2), (2, 1), (3, 500), (17, 17)]:
            image = np.zeros(shape, np.uint16)
            image.flat[-1] = 9
            assert screener.screen(image).error is None


def test_logits_in_the_place_of_probabilities_are_told_and_the_manifest_can_say_so(tmp_path):
    image, content = breast(), smooth_threshold(sigmoid=False)
    with open_bundle(write(tmp_path / "b", content)) as screener:
        (result,) = screener.screen_batch([image])
        assert result.error.startswith(Reason.VALUE_RANGE)
        assert "activation" in result.error
    outputs = {"outputs": {"mask": {"tensor": "mask", "activation": "sigmoid"}}}
    with (
        open_bundle(write(tmp_path / "c", content, outputs)) as logits,
        open_bundle(write(tmp_path / "d", smooth_threshold())) as probabilities,
    ):
        found, same = logits.screen(image).findings, probabilities.screen(image).findings
    assert [f.box for f in found] == [f.box for f in same] != []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": [128, 128]}, "segmenter: takes"),
        ({"shape": [128]}, "shape"),
        ({"background": 1}, "background"),
        ({"background": -0.1}, "background"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": "x"}, "threshold: got 'x'"),
        ({"threshold": True}, "threshold: got True"),
        ({"background": True}, "background: got True"),
        ({"background": "a"}, "background: got 'a'"),
        ({"background": float("nan")}, "nan"),
        ({"shape": [True, True]}, "shape"),
        ({"min_area_mm2": False}, "min_area_mm2: got False"),
        ({"min_area_mm2": 10**400}, "min_area_mm2"),
        ({"assumed_pixel_spacing_mm": [True, True]}, "assumed_pixel_spacing_mm: got"),
        ({"assumed_pixel_spacing_mm": 0.1}, "assumed_pixel_spacing_mm: got 0.1"),
        ({"grey": 5}, "grey: got 5"),
        ({"scaling": "minmax"}, "scaling: got 'minmax'"),
        ({"scaling": {"channels": True}}, "channels: got True"),
        ({"scaling": {"channels": 3, "contrast": {"low_percentile": True, "high_percentile": 99}}}, "contrast: got"),
        ({"tile": [1, 1]}, "unknown entries"),
    ],
)
def test_parameters_the_method_does_not_follow_are_refused(tmp_path, changes, words):
    with pytest.raises(BundleError) as caught:
        open_bundle(write(tmp_path / "b", smooth_threshold(), **changes))
    assert words in str(caught.value)
