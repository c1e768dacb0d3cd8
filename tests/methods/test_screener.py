import json

import numpy as np
import pytest

import mammofast
from mammofast import open_bundle
from mammofast.errors import BrokenImage, BundleError, EngineError, Reason
from mammofast.methods.arrays import array_image
from mammofast.settings import Settings


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64", ">u2", ">f4"],
)
def test_any_integer_or_float_type_finds_the_same(make_bundle, bright_image, dtype):
    image, boxes = bright_image()
    image = image // 16 * 16  # exact in every type
    if dtype == "uint8":
        image = image // 16
    with open_bundle(make_bundle()) as screener:
        expected = screener.screen(image)
        result = screener.screen(image.astype(dtype))
    assert len(result.findings) == len(boxes)
    assert [f.box for f in result.findings] == [f.box for f in expected.findings]


@pytest.mark.parametrize(
    ("dtype", "factor", "offset"),
    [
        ("int32", 1, 1_500_000_000),
        ("int64", 1, -(2**62)),
        ("uint64", 1, 2**63),
        ("float64", 1, 1e9),
        ("float64", 1e304, 0),
        ("float64", 1e304, -1.7e308),
        ("float64", 1e-300, 0),
        ("float64", 1, -1e4),
        ("float32", 0.01, 40),
    ],
)
def test_neither_offset_nor_unit_matters(make_bundle, bright_image, dtype, factor, offset):
    image, _ = bright_image()
    changed = (image.astype(dtype) * np.dtype(dtype).type(factor) + np.dtype(dtype).type(offset)).astype(dtype)
    assert len(np.unique(changed)) == len(np.unique(image))
    with open_bundle(make_bundle()) as screener:
        expected, result = screener.screen(image), screener.screen(changed)
    assert expected.findings
    assert [f.box for f in result.findings] == [f.box for f in expected.findings]
    np.testing.assert_allclose([f.area_px for f in result.findings], [f.area_px for f in expected.findings], rtol=0.01)


def test_values_beyond_32_bits_are_read_as_floats(make_bundle, bright_image):
    image, boxes = bright_image()
    with open_bundle(make_bundle()) as screener:
        assert len(screener.screen(image.astype(np.uint64) << np.uint64(40)).findings) == len(boxes)


def test_a_strided_view_finds_the_same(make_bundle, bright_image):
    image, _ = bright_image()
    view = np.repeat(np.repeat(image, 2, axis=0), 3, axis=1)[::2, ::3]
    assert not view.flags.c_contiguous
    with open_bundle(make_bundle()) as screener:
        assert screener.screen(view) == screener.screen(image)


BAD = [
    (np.zeros((3, 4, 5)), "shape (3, 4, 5)"),
    (np.zeros((0, 4)), "shape (0, 4)"),
    (np.zeros(7), "shape (7,)"),
    (np.zeros((4, 4), bool), "got bool"),
    (np.zeros((4, 4), complex), "got complex128"),
    (np.array([["a", "b"]]), "expected an integer or float"),
]


@pytest.mark.parametrize(("image", "words"), BAD)
def test_what_is_no_image_array_raises(make_bundle, image, words):
    with open_bundle(make_bundle()) as screener, pytest.raises(ValueError) as caught:
        screener.screen(image)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((64, 64), np.nan), Reason.VALUE_RANGE),
        (np.where(np.eye(64) > 0, np.inf, 1.0), Reason.VALUE_RANGE),
        (np.full((64, 64), 5, np.uint16), Reason.CONSTANT_PIXELS),
        (np.ones((1, 1), np.uint16), Reason.CONSTANT_PIXELS),
    ],
)
def test_an_image_that_cannot_be_a_mammogram_raises(make_bundle, image, reason):
    with open_bundle(make_bundle()) as screener, pytest.raises(BrokenImage) as caught:
        screener.screen(image)
    assert caught.value.reason == reason


class Unreadable:
    def __array__(self, *arguments, **options):
        raise RuntimeError("Doe^Jane")


def test_bad_images_of_a_batch_say_why_and_leave_the_others_alone(make_bundle, bright_image):
    image, _ = bright_image()
    with open_bundle(make_bundle()) as screener:
        bad = [np.zeros(3), np.full((8, 8), np.nan), "text", [[1, 2], [3]], Unreadable()]
        results = screener.screen_batch([bad[0], image, bad[1], image, *bad[2:]])
        assert results[1] == results[3] == screener.screen(image)
        assert screener.screen_batch([]) == []
    assert [result.error is None for result in results] == [False, True, False, True, False, False, False]
    assert "Doe" not in str(results)
    assert results[0].error.startswith("bad-array: image: got an array of shape (3,)")
    assert results[2].error.startswith("value-range")
    assert results[2].shape == (8, 8)


@pytest.mark.parametrize("spacing", [(0.07,), (0.07, -1), (0, 1), (np.inf, 1), 0.07, "ab"])
def test_pixel_spacing_must_be_two_positive_lengths(spacing):
    with pytest.raises(ValueError, match="pixel_spacing"):
        array_image(np.eye(4), spacing)


def test_tiny_images_do_not_fail(make_bundle):
    with open_bundle(make_bundle()) as screener:
        for shape in [(1, 2), (2, 1), (3, 500), (17, 17)]:
            image = np.random.default_rng(1).integers(0, 100, shape).astype(np.uint16)
            assert screener.screen(image).error is None


def test_a_closed_screener_says_so(make_bundle):
    screener = open_bundle(make_bundle())
    screener.close()
    screener.close()
    with pytest.raises(EngineError, match="closed"):
        screener.screen(np.eye(64))


def test_other_devices_are_refused_by_name(make_bundle):
    with pytest.raises(EngineError, match="device: got 'tpu'"):
        open_bundle(make_bundle(), device="tpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": 1}, "unknown entries ['colour']"),
        ({"anchors": [[1, 2]]}, "anchors: got 1"),
        ({"scales": [[321, 160]]}, "multiples of 32"),
        ({"box": "round"}, "box: got 'round'"),
        ({"crop_margin": -1}, "crop_margin"),
        ({"contrast": {"low_percentile": 9, "high_percentile": 1}}, "0 <= low < high"),
        ({"grey": {"gamma": 2}}, "gamma"),
        ({"grey": {"modality": "false"}}, "modality is 'false'"),
        ({"nms_iou": 2}, "iou_threshold"),
        ({"fusion_threshold": 0.1234567}, "threshold"),
        ({"fusion_threshold": "0.6"}, "threshold"),
        ({"mask_threshold": "x"}, "threshold"),
        ({"confidence_threshold": 0}, "confidence_threshold"),
        ({"confidence_threshold": None}, "parameters"),
        ({"scales": [[320.0, 160.0]]}, "scales"),
        ({"scales": []}, "scales"),
        ({"strides": []}, "strides"),
        ({"crop_shape": [0, 256]}, "crop_shape"),
        ({"crop_shape": [128, 128]}, "segmenter: takes"),
        ({"anchors": [[0, 5]] * 9}, "anchors"),
        ({"anchors": [[True, 5]] * 9}, "anchors"),
        ({"anchors": [["7", 5]] * 9}, "anchors: got"),
        ({"anchors": [7] * 9}, "anchors: got"),
        ({"strides": [True, True, True]}, "strides"),
        ({"scales": 3}, "scales: got 3"),
        ({"nms_iou": True}, "iou_threshold"),
        ({"fusion_threshold": True}, "threshold"),
        ({"mask_threshold": True}, "threshold"),
        ({"confidence_threshold": True}, "confidence_threshold: got True"),
        ({"confidence_threshold": "a"}, "confidence_threshold: got 'a'"),
        ({"crop_margin": True}, "crop_margin: got True"),
        ({"crop_margin": "0"}, "crop_margin: got '0'"),
        ({"contrast": {"low_percentile": False, "high_percentile": 99}}, "contrast: got percentiles False"),
        ({"contrast": {"low_percentile": "1", "high_percentile": 99}}, "contrast: got percentiles '1'"),
        ({"contrast": "minmax"}, "contrast: got 'minmax'"),
        ({"grey": True}, "grey: got True"),
    ],
)
def test_parameters_the_method_does_not_follow_are_refused(make_bundle, changes, words):
    with pytest.raises(BundleError) as caught:
        open_bundle(make_bundle(**changes))
    assert words in str(caught.value)


def test_missing_parameters_and_unknown_methods_are_refused(make_bundle):
    folder = make_bundle()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["parameters"]["nms_iou"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="missing entries \\['nms_iou'\\]"):
        open_bundle(folder)
    manifest["method"] = "three_stage"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="three_stage"):
        open_bundle(folder)


def test_networks_in_each_others_place_are_refused_when_the_bundle_is_opened(make_bundle, networks):
    with pytest.raises(BundleError) as caught:
        open_bundle(make_bundle(detector=networks["segmenter"](), segmenter=networks["detector"]()))
    assert str(caught.value).startswith(
        "detector: takes 'crop', float32 any × 1 × 256 × 256, expected 'image', float32 1 × 1 × 320 × 160; give"
    )
    assert "'inputs'" in str(caught.value)


def test_a_detector_without_a_head_is_refused_when_the_bundle_is_opened(make_bundle):
    with pytest.raises(BundleError, match=r"detector: has no output \['stride_4'\]"):
        open_bundle(make_bundle(strides=[4, 8, 16]))


def test_settings_identify_themselves():
    assert Settings().id == Settings(detection_batch=1).id != Settings(detection_batch=2).id
    with pytest.raises(ValueError, match="segmentation_batch"):
        Settings(segmentation_batch=0)


def test_the_demo_bundle_opens_says_what_it_is_for_and_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mammofast.open_bundle("demo") as screener:
        assert "trying the software only" in screener.notice
        result = screener.screen(np.random.default_rng(0).integers(0, 4096, (1024, 832)).astype(np.uint16))
    assert result.error is None
    assert list(tmp_path.iterdir()) == []
