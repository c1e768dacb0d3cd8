"""Whole-image and tiled methods on a card, their kernels run on the host: to the bit what the CPU finds."""

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper

import mammofast
from mammofast.archive import ingest
from mammofast.engine import load_engine
from mammofast.errors import Reason
from mammofast.methods import probability_map_device
from mammofast.methods import screener as screener_module
from mammofast.methods.arrays import ArrayImage
from mammofast.methods.contrast import Contrast
from mammofast.methods.probability_map_device import TiledOnDevice, WholeImageOnDevice
from mammofast.methods.scaling import Scaling
from mammofast.methods.screener import open_bundle
from mammofast.methods.tiled import Tiled, TiledParameters
from mammofast.methods.whole_image import WholeImage, WholeImageParameters
from mammofast.phantom import write_studies
from mammofast.records import GreyPipeline
from mammofast.settings import Settings
from tests.methods.bundle_folder import write_folder
from tests.methods.conftest import _model
from tests.methods.host_engine import HostEngine
from tests.ops.backends import cuda_on_host, make  # noqa: F401

GREY = GreyPipeline()
SETTINGS = Settings("cuda", segmentation_batch=5)


def blurring(channels, margin, threshold=0.5):
    """A network of one 5 x 5 mean: mass is what is bright; its output is smaller by the margin, 2 or 0."""
    weight = np.full((1, channels, 1, 1), 12 / channels, np.float32)
    constants = {"weight": weight, "bias": np.float32([-12 * threshold])}
    nodes = [
        helper.make_node("AveragePool", ["image"], ["mean"], kernel_shape=[5, 5], pads=[2 - margin] * 4),
        helper.make_node("Conv", ["mean", "weight", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["mask"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, "rows", "cols"])
    mask = helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 1, "r", "c"])
    return _model(nodes, constants, [image], [mask])


def textured(shape, dtype, seed=0):
    """Bright pieces of all sizes on noise."""
    rng = np.random.default_rng(seed)
    total = np.zeros(shape)
    for size in (1, 8, 40):
        total += np.kron(rng.random([-(-side // size) for side in shape]), np.ones((size, size)))[
            : shape[0], : shape[1]
        ]
    return (total / total.max() * (250 if np.dtype(dtype).itemsize == 1 else 4000)).astype(dtype)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Phantoms of an archive, and arrays of other types and shapes."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_studies(folder, studies=1, seed=20_261)
    ingest([folder / "dicom"], folder / "archive.zarr")
    archived = list(mammofast.open_archive(folder / "archive.zarr").images())
    kinds = [
        ((300, 190), np.uint16),
        ((61, 250), np.uint8),
        ((300, 190), np.float32),
        ((222, 333), np.int32),
        ((12, 9), np.int16),
    ]
    arrays = [ArrayImage(textured(shape, kind, i), (0.2, 0.25)) for i, (shape, kind) in enumerate(kinds)]
    return [archived[0], *arrays]


@pytest.fixture
def small(images):
    """The arrays."""
    return images[1:]


@pytest.fixture
def on_host(request, monkeypatch):
    """The kernels run on the host, where the engines of these tests are."""
    return make("on_host", request, monkeypatch)


WHOLE = {
    "plain": {"shape": (64, 48), "scaling": Scaling()},
    "cut to the foreground": {
        "shape": (96, 96),
        "background": 0.3,
        "scaling": Scaling(contrast=Contrast(1.0, 99.0), mean=(0.1, 0.0, -0.1), std=(1.0, 1.1, 0.9), channels=3),
    },
    "no small ones": {"shape": (128, 128), "scaling": Scaling(), "min_area_mm2": 30.0, "threshold": 0.6},
}
TILES = {
    "one channel": {"tile": (64, 48), "stride": 1, "halo": 2, "pixel_size_mm": 0.7, "scaling": Scaling()},
    "a margin": {
        "tile": (60, 72),
        "stride": 4,
        "halo": 2,
        "margin": 2,
        "pixel_size_mm": 0.5,
        "scaling": Scaling(contrast=Contrast(0.5, 99.5), mean=0.05, std=0.9, channels=3),
    },
    "enlarged": {
        "tile": (200, 300),
        "stride": 8,
        "halo": 8,
        "pixel_size_mm": 0.15,
        "scaling": Scaling(),
        "threshold": 0.4,
    },
}


def opened(parameters, spoil=None, settings=SETTINGS):
    """Return a method on a card, and its engine."""
    content = blurring(parameters.scaling.channels, getattr(parameters, "margin", 0))
    engine = HostEngine(content, spoil)
    kind = TiledOnDevice if isinstance(parameters, TiledParameters) else WholeImageOnDevice
    return kind(parameters, {"segmenter": engine}, settings), engine


def on_card(parameters, images, spoil=None):
    method, engine = opened(parameters, spoil)
    try:
        return method.screen(images)
    finally:
        method.close()
        engine.close()


def by_cpu(parameters, images):
    content = blurring(parameters.scaling.channels, getattr(parameters, "margin", 0))
    kind = Tiled if isinstance(parameters, TiledParameters) else WholeImage
    with load_engine(content, "onnxruntime") as engine:
        return kind(parameters, {"segmenter": engine}, SETTINGS).screen(images)


def parameters_of(name):
    if name in WHOLE:
        return WholeImageParameters(grey=GREY, **WHOLE[name])
    return TiledParameters(grey=GREY, **TILES[name])


@pytest.mark.parametrize("name", [*WHOLE, *TILES])
def test_findings_are_the_cpus_to_the_bit(on_host, images, name):
    parameters = parameters_of(name)
    if name not in ("cut to the foreground", "a margin"):  # the archive's image is large for kernels on the host
        images = images[1:]
    method, engine = opened(parameters)
    try:
        found = method.screen(images)
        again = method.screen(images[-2:-1])
    finally:
        method.close()
        engine.close()
    expected = by_cpu(parameters, images)
    assert [result.error for result in expected] == [None] * len(images)
    assert sum(len(result.findings) for result in expected) > 10
    assert found == expected
    assert again == expected[-2:-1]
    # Tiles of several images share batches of one shape.
    assert {shape[0] for each in engine.opened for shape in each.batches} == {SETTINGS.segmentation_batch}
    assert on_host.control.allocations == 0


@pytest.mark.parametrize("name", ["plain", "a margin"])
def test_more_components_than_a_card_counts_are_found_on_the_host(on_host, small, name, monkeypatch):
    monkeypatch.setattr(probability_map_device, "MOST_COMPONENTS", 3)
    parameters = parameters_of(name)
    expected = by_cpu(parameters, small)
    assert max(len(result.findings) for result in expected) > 3
    assert on_card(parameters, small) == expected


class Marked:
    """Spoils one tile or image, known by its input, wherever in a batch it comes."""

    def __init__(self, value):
        self.value, self.key = value, None

    def __call__(self, inputs, outputs):
        for row, image in enumerate(inputs):
            self.key = self.key or image.tobytes()
            if image.tobytes() == self.key:
                outputs["mask"][row].flat[-1] = self.value


@pytest.mark.parametrize("name", ["plain", "one channel", "a margin"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "not-finite: the segmenter gave NaN or infinity for this image"),
        (-np.inf, "not-finite: the segmenter gave NaN or infinity for this image"),
        (7.0, "value-range: the segmenter gave values from .* to 7, expected probabilities; its manifest can state"),
    ],
)
def test_what_is_no_probability_is_the_error_of_its_image_alone(on_host, small, name, value, words):
    parameters, spoil = parameters_of(name), Marked(value)
    method, engine = opened(parameters, spoil)
    try:
        (lone,) = method.screen([small[0]])
        found = method.screen(small)
    finally:
        method.close()
        engine.close()
    expected = by_cpu(parameters, small)
    assert re.match(words, lone.error), lone.error
    assert lone.findings == ()
    assert found[0].error == lone.error
    assert found[1:] == expected[1:]


class Gone(ArrayImage):
    def read(self, level=0, window=None):
        raise OSError("Doe^Jane")


class Spoiled(ArrayImage):
    def read(self, level=0, window=None):
        pixels = super().read(level, window).copy()
        pixels.flat[0] = np.nan
        return pixels


@pytest.mark.parametrize("name", ["plain", "one channel"])
def test_an_image_that_cannot_be_read_or_shown_fails_alone(on_host, small, name, monkeypatch):
    monkeypatch.setattr(HostEngine, "expects_finite", False)
    parameters = parameters_of(name)
    mixed = [small[0], Gone(small[0].pixels, (0.2, 0.2)), Spoiled(small[2].pixels, (0.2, 0.2)), small[1]]
    found = on_card(parameters, mixed)
    assert found[1].error == f"{Reason.INTERNAL}: OSError"
    assert found[2].error.startswith(f"{Reason.VALUE_RANGE}: the image's pixels")
    assert [found[0], found[3]] == by_cpu(parameters, [small[0], small[1]])


def test_an_image_without_a_spacing_fails_where_it_is_needed(on_host, small):
    blind = ArrayImage(small[0].pixels)
    for name in ("one channel", "no small ones"):
        parameters = parameters_of(name)
        found = on_card(parameters, [blind, small[0]])
        expected = by_cpu(parameters, [blind, small[0]])
        assert expected[0].error.startswith(Reason.BAD_HEADER)
        assert found == expected


@pytest.mark.parametrize("name", ["plain", "one channel"])
def test_a_bundle_of_an_engine_on_a_card_is_screened_there(on_host, small, name, tmp_path, monkeypatch):
    parameters = parameters_of(name)
    values = dataclasses.asdict(parameters) | {"scaling": {"contrast": "minmax"}}
    method = "whole_image" if name in WHOLE else "tiled"
    write_folder(tmp_path, {"segmenter": blurring(1, 0)}, name="t", method=method, parameters=values)
    monkeypatch.setattr(screener_module, "open_network", lambda bundle, name, device: HostEngine(bundle.read(name)))
    with open_bundle(tmp_path, settings=SETTINGS) as screener:
        assert screener.concurrent
        found = screener.screen_images(small)
        engine = screener._engines["segmenter"]
    assert found == by_cpu(parameters, small)
    assert engine._closed
    assert on_host.control.allocations == 0


@pytest.mark.parametrize("name", ["plain", "a margin"])
def test_a_card_with_little_room_takes_images_one_by_one(on_host, small, name, monkeypatch):
    monkeypatch.setattr(HostEngine, "free", 2000)
    monkeypatch.setattr(HostEngine, "is_pinnable", False)
    parameters = parameters_of(name)
    method, engine = opened(parameters)
    held = method._flow._board._holds[0][0].supply
    try:
        found = method.screen(small)
    finally:
        method.close()
        engine.close()
    assert held.peak == held.total == 1000
    assert found == by_cpu(parameters, small)


def test_several_threads_share_batches(on_host, small):
    parameters = parameters_of("a margin")
    method, engine = opened(parameters)
    try:
        with ThreadPoolExecutor(3) as threads:
            found = list(threads.map(lambda image: method.screen([image])[0], small))
    finally:
        method.close()
        engine.close()
    assert found == by_cpu(parameters, small)
