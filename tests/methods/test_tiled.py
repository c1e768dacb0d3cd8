"""Tiles put together against the same network on the whole image, for P3's networks at an eighth of their width."""

import hashlib
import io
import json
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
    folder.mkdir(parents=True)
    (folder / "net.onnx").write_bytes(content)
    network = {
        "file": "net.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "backend": "onnxruntime",
        "precision": "fp32",
        "target": "cpu",
        "inputs": {"image": "pixels"},
        "outputs": {"mask": {"tensor": "logits", "activation": "softmax", "channel": 1}},
    }
    values = {
        "grey": {},
        "scaling": {"contrast": "minmax", "mean": 0.5, "channels": 3},
        "pixel_size_mm": PIXEL,
        **parameters,
    }
    manifest = {"format": 1, "name": "t", "method": "tiled", "networks": {"segmenter": network}, "parameters": values}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def lively(name, tile, seed=0):
    """Return a small network of random weights whose answers differ from place to place, and depend on far pixels."""
    torch.manual_seed(seed)
    network = models.create(name, width=1 / 8).eval()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    for module in convolutions:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        grey = torch.from_numpy(noise(tile).astype(np.float32) / 4095 - 0.5)
        logits = network(grey.expand(1, 3, *tile))
        difference = logits[:, 1] - logits[:, 0]
    return Undecided(network, 2 / float(difference.std()), float(difference.mean())).eval()


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


@pytest.mark.parametrize(("name", "tile", "shapes"), CASES, ids=[f"{name}-{tile[0]}x{tile[1]}" for name, tile, _ in CASES])
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
