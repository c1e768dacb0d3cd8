"""P4's method on a card, its kernels run on the host: to the bit what the CPU finds."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import mammofast
from mammofast.archive import ingest
from mammofast.bundles import load_bundle
from mammofast.engine import loss
from mammofast.errors import DeviceLostError, EngineError, Reason
from mammofast.methods import device_flow, two_stage_device
from mammofast.methods import screener as screener_module
from mammofast.methods.arrays import ArrayImage
from mammofast.methods.parameters import read_parameters
from mammofast.methods.screener import open_bundle
from mammofast.methods.two_stage import TwoStageParameters
from mammofast.methods.two_stage_device import TwoStageOnDevice
from mammofast.phantom import write_studies
from mammofast.settings import Settings
from tests.methods.host_engine import HostEngine
from tests.ops.backends import cuda_on_host, make  # noqa: F401


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Phantoms of an archive, one of them with masses in plenty, and arrays of other types."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_studies(folder, studies=1, seed=20_260)
    ingest([folder / "dicom"], folder / "archive.zarr")
    archived = list(mammofast.open_archive(folder / "archive.zarr").images())
    pixels = archived[0].read()
    return [
        *archived,
        ArrayImage(np.zeros((900, 700), np.uint16)),
        ArrayImage(pixels.astype(np.float32)[::-1]),
        ArrayImage(pixels.astype(np.int32)),
    ]


def opened(change=None, spoil=None, settings=None):
    """Return the demo bundle's method on a card."""
    bundle = load_bundle("demo")
    parameters = read_parameters(TwoStageParameters, bundle.parameters, "demo")
    spoil = spoil or {}
    engines = {name: HostEngine(bundle.read(name), spoil.get(name)) for name in ("detector", "segmenter")}
    method = TwoStageOnDevice(
        replace(parameters, **(change or {})),
        engines,
        settings or Settings("cuda", detection_batch=3, segmentation_batch=4),
    )
    return method, engines


def close(method, engines):
    method.close()
    for engine in engines.values():
        engine.close()


@pytest.fixture
def on_host(request, monkeypatch):
    """The kernels run on the host, where the engines of these tests are."""
    return make("on_host", request, monkeypatch)


def by_cpu(images, change=None):
    with open_bundle("demo") as screener:
        method = screener._method
        method._parameters = replace(method._parameters, **(change or {}))
        return method.screen(images)


def assert_same(found, expected):
    assert found == expected
    for one, other in zip(found, expected, strict=True):
        assert one.detections.tobytes() == other.detections.tobytes()


def test_findings_are_the_cpus_to_the_bit(on_host, images):
    method, engines = opened()
    try:
        found = method.screen(images)
        again = method.screen(images[:1])
    finally:
        close(method, engines)
    expected = by_cpu(images)
    assert [result.error for result in expected] == [None] * len(images)
    assert sum(len(result.findings) for result in expected) >= 3
    assert_same(found, expected)
    assert_same(again, expected[:1])
    # Batches of several images at one shape, of both lanes.
    assert {shape[0] for engine in engines["detector"].opened for shape in engine.batches} == {3}
    assert on_host.control.allocations == 0


def test_the_papers_box_and_no_margin(on_host, images):
    change = {"box": "fused", "crop_margin": 0.0, "fusion_threshold": 0.2, "confidence_threshold": 0.02}
    method, engines = opened(change)
    try:
        found = method.screen(images[:6])
    finally:
        close(method, engines)
    expected = by_cpu(images[:6], change)
    assert sum(len(result.findings) for result in expected) > 3
    assert_same(found, expected)


def test_more_boxes_than_a_card_fuses_are_fused_on_the_host(on_host, images, monkeypatch):
    monkeypatch.setattr(two_stage_device, "MOST_BOXES", 2)
    method, engines = opened()
    try:
        found = method.screen(images)
    finally:
        close(method, engines)
    expected = by_cpu(images)
    assert max(len(result.detections) for result in expected) > 2
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("network", "output", "value"), [("detector", "stride_16", np.nan), ("segmenter", "mask", np.inf)]
)
def test_nan_is_the_error_of_its_image_alone(on_host, images, network, output, value):
    images = images[:4]
    expected = by_cpu(images)
    poisoned = next(i for i, result in enumerate(expected) if result.findings)
    marks = {}

    def mark(inputs, outputs):
        # Known by its input, wherever in a batch it comes.
        for row, image in enumerate(inputs):
            if marks.setdefault("image", image.tobytes()) == image.tobytes():
                outputs[output][row].flat[-1] = value

    method, engines = opened(spoil={network: mark})
    try:
        (lone,) = method.screen([images[poisoned]])
        found = method.screen(images)
    finally:
        close(method, engines)
    assert lone.error is not None
    assert lone.error == found[poisoned].error
    assert lone.error.startswith(f"{Reason.NOT_FINITE}: the {network} gave NaN or infinity")
    others = [i for i in range(len(images)) if i != poisoned]
    assert_same([found[i] for i in others], [expected[i] for i in others])


class Gone(ArrayImage):
    def read(self, level=0, window=None):
        raise OSError("Doe^Jane")


class GoneLater(ArrayImage):
    def read(self, level=0, window=None):
        if window is None:
            return super().read(level)
        raise OSError("Doe^Jane")


@pytest.mark.parametrize("kind", [Gone, GoneLater])
def test_an_image_that_cannot_be_read_fails_alone(on_host, images, kind):
    expected = by_cpu(images[:3])
    with_findings = next(i for i, result in enumerate(expected) if result.findings)
    mixed = list(images[:3])
    mixed[with_findings] = kind(images[with_findings].read())
    method, engines = opened()
    try:
        found = method.screen(mixed)
    finally:
        close(method, engines)
    assert found.pop(with_findings).error == f"{Reason.INTERNAL}: OSError"
    expected.pop(with_findings)
    assert_same(found, expected)


class Spoiled(ArrayImage):
    """Floats with one NaN, in what the detector is shown or in what the segmenter is."""

    native = False

    def read(self, level=0, window=None):
        pixels = super().read(level, window).copy()
        if self.native == (window is not None):
            pixels.flat[0] = np.nan
        return pixels


class SpoiledNative(Spoiled):
    native = True


@pytest.mark.parametrize("kind", [Spoiled, SpoiledNative])
def test_pixels_that_are_not_finite_are_an_error_whatever_the_networks_make_of_them(on_host, images, kind, monkeypatch):
    monkeypatch.setattr(HostEngine, "expects_finite", False)

    def clean(inputs, outputs):  # ReLU by max(x, 0), as some kernels have it, makes 0 of NaN
        for values in outputs.values():
            np.nan_to_num(values, copy=False)

    expected = by_cpu(images[:3])
    with_findings = next(i for i, result in enumerate(expected) if result.findings)
    mixed = list(images[:3])
    mixed[with_findings] = kind(images[with_findings].read().astype(np.float32))
    method, engines = opened(spoil={"detector": clean, "segmenter": clean})
    try:
        found = method.screen(mixed)
    finally:
        close(method, engines)
    error = found.pop(with_findings).error
    assert error is not None
    assert error.startswith(f"{Reason.VALUE_RANGE}: the image's pixels")
    expected.pop(with_findings)
    assert_same(found, expected)


def test_a_call_that_fails_at_its_end_spoils_no_image(on_host, images, monkeypatch):
    monkeypatch.setattr(two_stage_device, "MOST_BOXES", 2)
    method, engines = opened()
    fuse, failed = method._fuse_on_host, []

    def fail_once(case, i, *others):
        if i > 0 and not failed:
            failed.append(case)
            raise MemoryError
        fuse(case, i, *others)

    monkeypatch.setattr(method, "_fuse_on_host", fail_once)
    try:
        found = method.screen(images[:4])
    finally:
        close(method, engines)
    assert failed
    assert_same(found, by_cpu(images[:4]))


def test_closing_closes_what_was_opened(on_host, images):
    method, engines = opened()
    shared = [engine for first in engines.values() for engine in first.opened if engine is not first]
    assert len(shared) == 2 * (two_stage_device.LANES - 1)
    method.close()
    assert all(engine._closed for engine in shared)
    assert not any(engine._closed for engine in engines.values())
    close(method, engines)
    assert on_host.control.allocations == 0


@pytest.fixture(scope="module")
def expected(images):
    return by_cpu(images)


@pytest.fixture
def screener(expected, on_host, monkeypatch):
    """The demo bundle as if it had been compiled for a card."""
    monkeypatch.setattr(screener_module, "open_network", lambda bundle, name, device: HostEngine(bundle.read(name)))
    with open_bundle("demo", settings=Settings.on("cuda")) as opened:
        yield opened


def test_a_bundle_of_engines_on_a_card_is_screened_there_by_several_threads(screener, images, expected):
    assert screener.concurrent
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda image: screener.screen_images([image])[0], images))
    assert_same(found, expected)
    batches = [shape[0] for engine in screener._engines["detector"].opened for shape in engine.batches]
    assert set(batches) == {Settings.on("cuda").detection_batch}


@pytest.fixture
def nothing_lost(monkeypatch):
    """A card that a test loses is there again for the next one."""
    monkeypatch.setattr(loss, "_LOST", set())
    monkeypatch.setattr(HostEngine, "is_dead", False)


def test_a_lost_card_is_said_to_every_caller_and_no_image_is_blamed(nothing_lost, screener, images, monkeypatch):
    (good,) = screener.screen_batch(images[:1])
    assert good.error is None
    die = lambda *_: monkeypatch.setattr(HostEngine, "is_dead", True)  # noqa: E731
    for engine in screener._engines["segmenter"].opened:
        engine.spoil = die
    with ThreadPoolExecutor(3) as threads:
        for asked in [threads.submit(screener.screen_batch, images) for _ in range(3)]:
            with pytest.raises(DeviceLostError, match=r"card 0 is lost to this process \(the card reports: "):
                asked.result()
    with pytest.raises(DeviceLostError):
        screener.screen(images[0])
    screener.close()  # what a `with` block does then: the error that comes out of it is the card's


def test_a_card_that_hangs_is_lost(nothing_lost, screener, images, monkeypatch):
    hangs, go_on = threading.Event(), threading.Event()

    def hang(inputs, outputs):
        hangs.set()
        assert go_on.wait(60)

    monkeypatch.setattr(screener._method._flow, "_hung_after", 0.1)
    engines = screener._engines["detector"].opened
    for engine in engines:
        engine.spoil = hang
    with pytest.raises(DeviceLostError, match=r"card 0 is lost .*stage 'detect' has not come back for 0.1 s"):
        screener.screen_images(images)
    assert hangs.wait(60)
    screener.close()  # does not wait for it
    assert all(engine._closed for engine in engines)
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "detect":
            thread.join(60)


def test_a_hang_ends_what_a_bundle_is_opened_for(screener):
    assert screener._method._flow._hung_after == device_flow.HUNG_AFTER


def test_a_bundle_that_no_method_takes_leaves_no_engine_open(on_host, monkeypatch):
    made = []

    def network(bundle, name, device):
        made.append(HostEngine(bundle.read(name), opened=made))
        return made[-1]

    monkeypatch.setattr(screener_module, "open_network", network)
    monkeypatch.setattr(HostEngine, "share", lambda engine: (_ for _ in ()).throw(EngineError("no memory left")))
    with pytest.raises(EngineError, match="no memory left"):
        open_bundle("demo", settings=Settings.on("cuda"))
    assert made
    assert all(engine._closed for engine in made)
