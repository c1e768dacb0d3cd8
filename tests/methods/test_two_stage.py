import dataclasses
import math

import cv2
import numpy as np
import pytest

from mammofast import open_bundle
from mammofast.errors import BrokenImage, Reason
from mammofast.methods.arrays import ArrayImage
from mammofast.records import ImageResult
from mammofast.settings import Settings


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


@dataclasses.dataclass
class RecordingImage:
    """An image that notes what is read of it, or fails when it is read."""

    inner: ArrayImage
    error: Exception | None = None
    reads: list = dataclasses.field(default_factory=list)

    @property
    def shape(self):
        return self.inner.shape

    @property
    def pixel_spacing(self):
        return None

    def read(self, level=0, window=None):
        self.reads.append((level, window))
        if self.error is not None:
            raise self.error
        return self.inner.read(level, window)

    def grey_table(self, pipeline):
        return None


def test_bright_masses_are_found_where_they_are(make_bundle, bright_image):
    image, boxes = bright_image(ellipses=((300, 300, 90, 100), (700, 1100, 80, 90)))
    with open_bundle(make_bundle(crop_margin=0.5, box="mask")) as screener:
        result = screener.screen(image)
    assert result.shape == image.shape
    assert len(result.findings) == 2
    for finding, box in zip(result.findings, boxes, strict=True):
        assert iou(finding.box, box) > 0.9
        assert finding.mask.shape == (finding.box[3] - finding.box[1], finding.box[2] - finding.box[0])
        assert finding.mask.dtype == bool
        assert finding.confidence > 0
    truth = image >= 3900
    assert (result.mask & truth).sum() * 2 / (result.mask.sum() + truth.sum()) > 0.95


def test_candidates_do_not_depend_on_the_margin(make_bundle, bright_image):
    image, _ = bright_image()
    with (
        open_bundle(make_bundle(box="fused", crop_margin=0.5)) as fused,
        open_bundle(make_bundle(box="fused", crop_margin=0.0)) as narrow,
    ):
        wide_result, narrow_result = fused.screen(image), narrow.screen(image)
    assert wide_result.findings
    assert [f.box for f in wide_result.findings] == [f.box for f in narrow_result.findings]


def test_finding_with_an_empty_mask_stays_with_area_0(make_bundle, networks, bright_image):
    image, _ = bright_image()
    for box in ("fused", "mask"):
        with open_bundle(make_bundle(segmenter=networks["segmenter"](bias=-9.0), box=box)) as screener:
            result = screener.screen(image)
        assert [f.area_px for f in result.findings] == [0]
        assert not result.mask.any()


def test_an_image_with_nothing_bright_has_no_findings_and_no_error(make_bundle):
    image = np.random.default_rng(0).integers(0, 1000, (1300, 900)).astype(np.uint16)
    image[0, 0] = 60000
    with open_bundle(make_bundle()) as screener:
        assert screener.screen(image) == ImageResult(shape=image.shape)


@pytest.mark.parametrize(("detection", "segmentation"), [(1, 1), (3, 2), (4, 8)])
def test_same_bytes_whatever_shares_the_batch(make_bundle, bright_image, detection, segmentation):
    """The settings fix the batch shape; which images are in it must not change a bit of any of them."""
    shapes = [(1400, 1000), (1301, 977), (900, 700), (1400, 1000), (2048, 1111)]
    images = [
        bright_image(seed=k, shape=shape, ellipses=((300, 300, 60 + 5 * k, 90), (500, 650, 70, 80)))[0]
        for k, shape in enumerate(shapes)
    ]
    settings = Settings(detection_batch=detection, segmentation_batch=segmentation)
    with open_bundle(make_bundle(), settings=settings) as screener:
        alone = [screener.screen(image) for image in images]
        together = screener.screen_batch(images)
        backwards = screener.screen_batch(images[::-1])[::-1]
    assert any(result.findings for result in alone)
    assert together == alone
    assert backwards == alone


def test_nan_out_of_a_network_fails_that_image_only(make_bundle, networks, bright_image):
    good, _ = bright_image()
    bad = good.copy()
    bad[:20, :20] = 4000
    bundle = make_bundle(detector=networks["detector"](nan_where_first_pixel_is_bright=True))
    for size in (1, 3):
        with open_bundle(bundle, settings=Settings(detection_batch=size)) as screener:
            first, second, third = screener.screen_batch([good, bad, good])
            assert second.error is not None
            assert second.error.startswith(Reason.NOT_FINITE)
            assert second.findings == ()
            assert first.error is None
            assert len(first.findings) == 1
            assert first == third
            with pytest.raises(BrokenImage, match="NaN or infinity"):
                screener.screen(bad)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BrokenImage(Reason.READ, "a shard is torn"), "read: a shard is torn"),
        (RuntimeError("PatientName Doe^Jane"), "internal: RuntimeError"),
    ],
)
def test_an_image_that_cannot_be_read_fails_alone_and_tells_no_names(make_bundle, bright_image, error, expected):
    image, _ = bright_image()
    sources = [RecordingImage(ArrayImage(image)), RecordingImage(ArrayImage(image), error)]
    with open_bundle(make_bundle()) as screener:
        good, bad = screener.screen_images(sources)
    assert bad.error == expected
    assert bad.findings == ()
    assert len(good.findings) == 1


def test_only_the_detection_level_and_the_candidates_windows_are_read(make_bundle, bright_image):
    image, boxes = bright_image(shape=(2600, 1400), ellipses=((500, 700, 150, 200),))
    source = RecordingImage(ArrayImage(image))
    with open_bundle(make_bundle(crop_margin=0.2)) as screener:
        (result,) = screener.screen_images([source])
    assert source.reads[0] == (2, None)  # 650 × 350 is the coarsest level that is not smaller than 640 × 320
    assert len(result.findings) == len(source.reads) - 1 == 1
    level, (x_min, y_min, x_max, y_max) = source.reads[1]
    f = result.findings[0].box
    dx, dy = round((f[2] - f[0]) * 0.2), round((f[3] - f[1]) * 0.2)
    assert level == 0
    assert (x_min, y_min, x_max, y_max) == (f[0] - dx, f[1] - dy, f[2] + dx, f[3] + dy)
    assert iou(f, boxes[0]) > 0.3


@pytest.mark.parametrize(
    ("shape", "level"),
    [
        ((640, 320), 0),
        ((639, 5000), 0),
        ((1279, 639), 1),
        ((1280, 638), 0),
        ((1280, 640), 1),
        ((10, 10), 0),
        ((2557, 1277), 2),
    ],
)
def test_detection_level_is_the_coarsest_not_smaller_than_the_largest_scale(make_bundle, shape, level):
    def holds(k):
        return math.ceil(shape[0] / 2**k) >= 640 and math.ceil(shape[1] / 2**k) >= 320

    assert level == max([k for k in range(20) if holds(k)], default=0)
    with open_bundle(make_bundle()) as screener:
        assert screener._method.detection_level(shape) == level


def test_mask_equals_opencv_stretch_of_the_probabilities(make_bundle, bright_image):
    """Crop, equalization, segmentation and the way back, redone with OpenCV from the reported box."""
    image, _ = bright_image(ellipses=((500, 700, 90, 120),))
    bundle = make_bundle(box="fused", crop_margin=0.0)
    with open_bundle(bundle) as screener:
        (finding,) = screener.screen(image).findings
        low, high = screener._method._parameters.contrast.window(ArrayImage(image).read(level=1), None)
    x_min, y_min, x_max, y_max = finding.box
    crop = np.clip((image[y_min:y_max, x_min:x_max].astype(np.float32) - low) / (high - low), 0, 1)
    grey = np.floor(cv2.resize(crop, (256, 256), interpolation=cv2.INTER_LINEAR) * 255 + 0.5).astype(np.uint8)
    probability = 1 / (1 + np.exp(-20 * (cv2.equalizeHist(grey) / 255 - 0.05)))
    expected = cv2.resize(probability, (x_max - x_min, y_max - y_min), interpolation=cv2.INTER_LINEAR) >= 0.5
    # One grey level of difference may move the outline by a pixel.
    assert np.mean(expected != finding.mask) < 0.01
