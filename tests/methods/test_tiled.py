"""Tiles put together against the same network on the whole image, for P3's networks at an eighth of their width."""

import io
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from mammofast import models, open_bundle
from mammofast.errors import BundleError, Reason
from mammofast.methods import tiled
from mammofast.methods.arrays import ArrayImage
from mammofast.settings import Settings
from tests.methods.bundle_folder import write_folder

PIXEL = 0.5  # mm: images of this spacing are not resampled


def exported(network, tile):
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 3, *tile)
        axes = {"pixels": {0: "n"}, "logits": {0: "n"}}
        torch.onnx.export(
            network,
            (example,),
            content,
            input_names=["pixels"],
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=18,
            dynamo=False,
        )
    return content.getvalue()


def write(folder, content, **parameters):
    says = {
        "inputs": {"image": "pixels"},
        "outputs": {"mask": {"tensor": "logits", "activation": "softmax", "channel": 1}},
    }
    values = {
        "grey": {},
        "scaling": {"contrast": "minmax", "mean": 0.5, "channels": 3},
        "pixel_size_mm": PIXEL,
        **parameters,
    }
    return write_folder(folder, {"segmenter": (content, says)}, name="t", method="tiled", parameters=values)


def lively(name, tile, seed=0):
    """Return a small network of random weights whose answers differ from place to place, and depend on far pixels."""
    torch.manual_seed(seed)
    network = models.create(name, width=1 / 8).eval()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    for module in convolutions:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    if name == "dilation10-context":
        look_far(network)
    with torch.no_grad():
        grey = torch.from_numpy(noise(tile).astype(np.float32) / 4095 - 0.5)
        logits = network(grey.expand(1, 3, *tile))
        difference = logits[:, 1] - logits[:, 0]
    return Undecided(network, 2 / float(difference.std()), float(difference.mean())).eval()


def look_far(network):
    """Let every tap of the context module's kernels count, and none of its ReLUs cut: it then sees all of its halo."""
    with torch.no_grad():
        network.head.score.bias.fill_(100.0)
        for layer in network.context:
            if isinstance(layer, nn.Conv2d):
                taps = torch.eye(2)[:, :, None, None] * (0.5 + torch.rand_like(layer.weight))
                layer.weight.copy_(taps / taps.sum((1, 2, 3), keepdim=True))
                layer.bias.zero_()


class Undecided(nn.Module):
    """A network whose logits are spread about equal chances."""

    def __init__(self, network, slope, offset):
        super().__init__()
        self.network = network
        self.slope = slope
        self.register_buffer("offset", torch.tensor([0.0, offset])[:, None, None])

    def forward(self, x):
        return (self.network(x) - self.offset) * self.slope


def noise(shape, seed=0):
    """Return pixels with structure at every scale, strong enough to be seen from far away."""
    rng = np.random.default_rng(seed)
    total = np.zeros(shape)
    for size in (1, 8, 64):
        coarse = rng.random([-(-side // size) for side in shape])
        total += np.kron(coarse, np.ones((size, size)))[: shape[0], : shape[1]]
    return (total / 3 * 4095).astype(np.uint16)


def whole(network, image, tile, stride, margin):
    """Run a network once on an image of any size, mirrored to what the tiles reach."""
    grey = (image.astype(np.float64) - image.min()) / (image.max() - image.min()) - 0.5
    padding = []
    for size, side in zip(image.shape, tile, strict=True):
        reached = side - 2 * margin
        while reached < size:
            reached += stride
        padding.append((margin, margin + reached - size))
    rows = np.pad(grey, padding, mode="reflect").astype(np.float32)
    with torch.no_grad():
        logits = network(torch.from_numpy(rows)[None, None].expand(1, 3, -1, -1))
    return torch.softmax(logits, 1)[0, 1, : image.shape[0], : image.shape[1]].numpy()


@pytest.fixture
def probability_map(monkeypatch):
    """Screen an image and return the map that its findings would be looked for in."""
    maps = []
    monkeypatch.setattr(tiled, "find_components", lambda found, *_: maps.append(found) or [])

    def screen(screener, image, spacing=(PIXEL, PIXEL)):
        maps.clear()
        (result,) = screener.screen_images([ArrayImage(image, spacing)])
        assert result.error is None, result.error
        return maps[0]

    return screen


# Strips keep the tests of large halos short: a side within one tile needs none. Of each network the first size is one
# whose tiles have their halo and not a stride more; then come a tile's own, one pixel more, and less.
CASES = [
    ("fcn32s", (608, 64), [(800, 50), (608, 64), (609, 64), (400, 20), (1, 9)]),
    ("fcn16s", (64, 608), [(50, 800), (64, 608), (33, 609)]),
    ("fcn8s", (608, 64), [(800, 50), (608, 64), (609, 64)]),
    ("unet", (256, 256), [(320, 320), (256, 256), (257, 255), (90, 333), (40, 30)]),
    ("unet-valid", (268, 268), [(148, 148), (84, 84), (85, 84), (45, 200), (20, 3)]),
    ("dilation10-front", (432, 48), [(496, 48), (433, 41), (30, 30)]),
    ("dilation10-front", (48, 432), [(40, 496)]),
    ("dilation10-context", (2520, 16), [(2632, 16), (2520, 11), (2521, 11)]),
    ("dilation10-context", (16, 2520), [(13, 2632)]),
]


@pytest.mark.parametrize(
    ("name", "tile", "shapes"), CASES, ids=[f"{name}-{tile[0]}x{tile[1]}" for name, tile, _ in CASES]
)
def test_tiles_equal_the_whole_image(tmp_path, probability_map, name, tile, shapes):
    network = lively(name, tile)
    inner = network.network
    geometry = {"stride": inner.stride, "halo": inner.halo, "margin": inner.margin}
    folder = write(tmp_path / "b", exported(network, tile), tile=list(tile), **geometry)
    with open_bundle(folder) as screener:
        for seed, shape in enumerate(shapes):
            image = noise(shape, seed)
            found = probability_map(screener, image)
            expected = whole(network, image, tile, inner.stride, inner.margin)
            assert found.shape == shape
            if min(shape) > 8:
                assert expected.std() > 0.05
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_deeplabv3_equals_the_whole_image_in_one_tile_and_sees_each_of_several_as_an_image(tmp_path, probability_map):
    """GroupNorm and pooling see the whole image: over several tiles no bound holds, and torch itself is off by 1e-5."""
    tile, halo = (256, 256), 64
    network = lively("deeplabv3-r18-gn", tile)
    content = exported(network, tile)
    assert network.network.halo is None
    with open_bundle(write(tmp_path / "whole", content, tile=list(tile), stride=8, halo=None)) as screener:
        for shape in [(256, 256), (200, 131), (7, 250)]:
            image = noise(shape)
            expected = whole(network, image, tile, 8, 0)
            np.testing.assert_allclose(probability_map(screener, image), expected, rtol=0, atol=1e-4)
        (refused,) = screener.screen_images([ArrayImage(noise((257, 200)), (PIXEL, PIXEL))])
        assert refused.error.startswith(Reason.TOO_LARGE)
    image = noise((384, 256))
    with open_bundle(write(tmp_path / "tiles", content, tile=list(tile), stride=8, halo=halo)) as screener:
        found = probability_map(screener, image)
    grey = ((image - float(image.min())) / float(image.max() - image.min()) - 0.5).astype(np.float32)
    parts = []
    for first in (0, 128):
        with torch.no_grad():
            logits = network(torch.from_numpy(grey[first : first + 256])[None, None].expand(1, 3, -1, -1))
        parts.append(torch.softmax(logits, 1)[0, 1].numpy())
    np.testing.assert_allclose(found, np.concatenate([parts[0][:192], parts[1][64:]]), rtol=0, atol=1e-4)
    assert np.abs(found - whole(network, image, tile, 8, 0)).max() > 0.1


class Blur(nn.Module):
    """Class 1 where the mean of 5 × 5 pixels is bright; if poisonous, NaN where a tile's first pixel is white."""

    def __init__(self, poisonous=False):
        super().__init__()
        self.pool = nn.AvgPool2d(5, 1, 2)
        self.poisonous = poisonous

    def forward(self, x):
        bright = 20 * self.pool(x[:, 1:2])
        if self.poisonous:
            bright = bright + 0 * torch.sqrt(0.4999 - x[:, :1, :1, :1])
        return torch.cat([torch.zeros_like(bright), bright], 1)


BLUR = {"tile": [32, 40], "stride": 1, "halo": 2}


@pytest.fixture
def blobs():
    def make(shape=(150, 170), seed=0):
        rng = np.random.default_rng(seed)
        image = rng.integers(100, 400, shape).astype(np.uint16)
        for y, x in ((40, 50), (100, 120)):
            image[y : y + 22, x : x + 17] = 3900
        image[0, 1] = 4095
        return image

    return make


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_same_bytes_whatever_shares_the_batch(tmp_path, blobs, batch):
    folder = write(tmp_path / "b", exported(Blur(), (32, 40)), **BLUR)
    images = [ArrayImage(blobs(shape, k), (PIXEL, PIXEL)) for k, shape in enumerate([(150, 170), (30, 20), (133, 251)])]
    with open_bundle(folder, settings=Settings(segmentation_batch=batch)) as screener:
        alone = [screener.screen_images([image])[0] for image in images]
        together = screener.screen_images(images)
        backwards = screener.screen_images(images[::-1])[::-1]
    assert [len(result.findings) for result in alone] == [2, 0, 2]
    assert all(result.detections.shape == (0, 6) for result in alone)
    assert together == alone == backwards


@pytest.mark.parametrize("first_pixel", [(0, 0), (118, 130)], ids=["first tile", "last tile"])
def test_nan_of_one_tile_fails_its_image_only(tmp_path, blobs, first_pixel):
    folder = write(tmp_path / "b", exported(Blur(poisonous=True), (32, 40)), **BLUR)
    good, bad = blobs(), blobs()
    bad[first_pixel] = 4095
    for batch in (1, 7):
        with open_bundle(folder, settings=Settings(segmentation_batch=batch)) as screener:
            results = screener.screen_images([ArrayImage(image, (PIXEL, PIXEL)) for image in (good, bad, good)])
        assert results[1].error.startswith(Reason.NOT_FINITE)
        assert results[1].findings == ()
        assert results[0] == results[2]
        assert len(results[0].findings) == 2


def test_an_image_without_spacing_fails_with_what_to_do_unless_the_bundle_assumes_one(tmp_path, blobs):
    content = exported(Blur(), (32, 40))
    with open_bundle(write(tmp_path / "b", content, **BLUR)) as screener:
        unknown, known = screener.screen_images([ArrayImage(blobs()), ArrayImage(blobs(), (PIXEL, PIXEL))])
    assert unknown.error.startswith(Reason.BAD_HEADER)
    assert "assumed_pixel_spacing_mm" in unknown.error
    folder = write(tmp_path / "c", content, assumed_pixel_spacing_mm=[PIXEL, PIXEL], **BLUR)
    with open_bundle(folder) as screener:
        assert screener.screen_images([ArrayImage(blobs())]) == [known]


@pytest.mark.parametrize(
    ("spacing", "level", "shape"),
    [
        ((0.5, 0.5), 0, (150, 170)),
        ((0.25, 0.25), 1, (75, 85)),
        ((0.25, 0.5), 0, (75, 170)),
        ((0.1, 0.1), 2, (30, 34)),  # level 2 has 38 rows of 0.4 mm: 30.4
        ((1.0, 0.5), 0, (300, 170)),
        ((1e-9, 1e-9), 15, (1, 1)),
    ],
)
def test_the_level_read_is_the_coarsest_whose_pixels_are_not_larger(
    tmp_path, probability_map, blobs, spacing, level, shape
):
    reads = []

    class Recording(ArrayImage):
        def read(self, level=0, window=None):
            reads.append((level, window))
            return super().read(level, window)

    folder = write(tmp_path / "b", exported(Blur(), (32, 40)), **BLUR)
    with open_bundle(folder) as screener:
        if level == 15:
            assert screener.screen_images([Recording(blobs(), spacing)])[0].error is None
        else:
            probability_map(screener, blobs(), spacing)
            screener.screen_images([Recording(blobs(), spacing)])
            assert probability_map(screener, blobs(), spacing).shape == shape
    assert reads == [(level, None)]


def test_more_working_pixels_than_memory_is_for_are_refused(tmp_path, blobs):
    with open_bundle(write(tmp_path / "b", exported(Blur(), (32, 40)), **BLUR)) as screener:
        (result,) = screener.screen_images([ArrayImage(blobs(), (900.0, 900.0))])
    assert result.error.startswith(f"{Reason.TOO_LARGE}: 270000 x 306000 pixels")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tile": [32, 41]}, "segmenter: takes"),
        ({"margin": 2}, "gives"),
        ({"margin": 16}, "more than two margins"),
        ({"halo": -1}, "halo"),
        ({"halo": 2.5}, "halo"),
        ({"halo": True}, "halo"),
        ({"margin": True}, "margin"),
        ({"stride": True}, "stride"),
        ({"pixel_size_mm": True}, "pixel_size_mm: got True"),
        ({"pixel_size_mm": "0.4"}, "pixel_size_mm: got '0.4'"),
        ({"stride": 0}, "stride"),
        ({"pixel_size_mm": 0}, "pixel_size_mm"),
        ({"threshold": 0}, "threshold"),
        ({"min_area_mm2": -1}, "min_area_mm2"),
        ({"assumed_pixel_spacing_mm": [0.1]}, "assumed_pixel_spacing_mm"),
        ({"scaling": {"channels": 1}}, "segmenter: takes"),
        ({"scaling": {"channels": 0}}, "channels"),
        ({"scaling": {"mean": [1, 2], "channels": 3}}, "mean"),
        ({"scaling": {"std": 0, "channels": 3}}, "std"),
        ({"scaling": {"contrast": "max", "channels": 3}}, "contrast"),
        ({"scaling": {"gamma": 2}}, "gamma"),
        ({"colour": 1}, "unknown entries"),
    ],
)
def test_parameters_the_method_does_not_follow_are_refused(tmp_path, changes, words):
    folder = write(tmp_path / "b", exported(Blur(), (32, 40)), **{**BLUR, **changes})
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert words in str(caught.value)
