"""Darknet's weight files against a forward pass of their bytes written in NumPy, from yolov3.cfg and parser.c."""

import struct

import numpy as np
import pytest
import torch

from mammofast.errors import ModelError
from mammofast.models.weights import load_weights
from mammofast.models.yolov3 import YOLOv3

BLOCKS = (1, 2, 1, 1, 1)
WIDTHS = (4, 8, 16, 32, 64, 128)  # an eighth of 32, 64, ... 1024
CHANNELS, CLASSES = 3, 2


def header(major=0, minor=2, seen=32013312):
    long_count = major * 10 + minor >= 2 and major < 1000 and minor < 1000
    return struct.pack("<iii", major, minor, 0) + struct.pack("<q" if long_count else "<i", seen)


class Forward:
    """Takes floats off a file as it meets layers, and runs each on the image at once."""

    def __init__(self, content, eps):
        self.floats, self.at, self.eps = np.frombuffer(content, "<f4").astype(np.float64), 0, eps

    def take(self, *shape):
        count = int(np.prod(shape))
        self.at += count
        return self.floats[self.at - count : self.at].reshape(shape)

    def conv(self, x, outputs, size, stride=1, norm=True):
        shift = self.take(outputs)
        if norm:
            scale, mean, variance = self.take(outputs), self.take(outputs), self.take(outputs)
        kernels = self.take(outputs, x.shape[0], size, size)
        padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]
        y = np.einsum("chwij,ocij->ohw", windows, kernels, optimize=True)
        if not norm:
            return y + shift[:, None, None]
        y = (y - mean[:, None, None]) / np.sqrt(variance + self.eps)[:, None, None]
        y = y * scale[:, None, None] + shift[:, None, None]
        return np.where(y > 0, y, 0.1 * y)

    def yolov3(self, x):
        x = self.conv(x, WIDTHS[0], 3)
        routes = []
        for width, count in zip(WIDTHS[1:], BLOCKS, strict=True):
            x = self.conv(x, width, 3, stride=2)
            for _ in range(count):
                x = x + self.conv(self.conv(x, width // 2, 1), width, 3)
            routes.append(x)
        heads = []
        for k, width in enumerate(reversed(WIDTHS[3:])):
            if k:
                x = self.conv(x, width // 2, 1).repeat(2, axis=1).repeat(2, axis=2)
                x = np.concatenate([x, routes[4 - k]])
            for size, outputs in [(1, width // 2), (3, width), (1, width // 2), (3, width), (1, width // 2)]:
                x = self.conv(x, outputs, size)
            heads.append(self.conv(self.conv(x, width, 3), 3 * (5 + CLASSES), 1, norm=False))
        return heads[::-1]


def network(classes=CLASSES, **options):
    torch.manual_seed(0)
    return YOLOv3(CHANNELS, classes, width=1 / 8, blocks=BLOCKS, **options).eval()


def floats_of(network):
    return sum(value.numel() for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked"))


class Draw(Forward):
    """Draws what the file would hold, as it meets layers: kernels of either sign, all else positive."""

    def __init__(self):
        super().__init__(b"", 1e-5)
        self.rng, self.drawn = np.random.default_rng(5), []

    def take(self, *shape):
        kernels = len(shape) == 4
        floats = (
            self.rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape) if kernels else self.rng.uniform(0.1, 1, shape)
        )
        self.drawn.append(floats.astype("<f4"))
        return floats


@pytest.fixture(scope="module")
def body():
    """The bytes after the header."""
    draw = Draw()
    draw.yolov3(np.zeros((CHANNELS, 32, 32)))
    return b"".join(floats.tobytes() for floats in draw.drawn)


@pytest.fixture
def write(tmp_path, body):
    def write(content=None, head=None, name="yolo.weights"):
        path = tmp_path / name
        path.write_bytes((header() if head is None else head) + (body if content is None else content))
        return path

    return write


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize(
    "head", [header(), header(0, 1), header(1, 0), header(1001, 2)], ids=["0.2", "0.1", "1.0", "1001.2"]
)
def test_outputs_are_those_of_the_bytes(write, body, head, eps):
    loaded = network(norm_eps=0.5)
    load_weights(loaded, write(head=head), norm_eps=eps)
    image = np.random.default_rng(6).uniform(0, 1, (CHANNELS, 64, 96))
    with torch.no_grad():
        outputs = loaded(torch.from_numpy(image[None]).float())
    reference = Forward(body, eps)
    for output, expected in zip(outputs, reference.yolov3(image), strict=True):
        scale = np.abs(expected).max()
        assert np.abs(output[0].numpy() - expected).max() < 1e-4 * scale
    assert reference.at == len(reference.floats), "the file has more layers"


def test_the_epsilon_shows(write, body):
    image = np.random.default_rng(6).uniform(0, 1, (CHANNELS, 32, 32))
    one, other = (Forward(body, eps).yolov3(image) for eps in (1e-5, 1e-3))
    assert all(np.abs(a - b).max() > 1e-3 * np.abs(a).max() for a, b in zip(one, other, strict=True))


def test_the_epsilon_stays_as_it_is_unless_it_is_given(write):
    loaded = network(norm_eps=1e-3)
    load_weights(loaded, write())
    assert {m.eps for m in loaded.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-3}


def test_a_backbone_leaves_the_heads(write, body):
    loaded = network()
    before = {key: value.clone() for key, value in loaded.state_dict().items()}
    trunk = floats_of(loaded.stem) + floats_of(loaded.stages)
    load_weights(loaded, write(body[: 4 * trunk]), "darknet-backbone")
    after = loaded.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {k for k in before if not k.startswith("scales.") and not k.endswith("num_batches_tracked")}
    whole = network()
    load_weights(whole, write())
    assert all(torch.equal(after[key], whole.state_dict()[key]) for key in changed)
    with pytest.raises(ModelError, match="'darknet-backbone'"):
        load_weights(network(), write(body[: 4 * trunk]))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda body: body[:-4], "too few: cut off"),
        (lambda body: body[:-1], "too few: cut off"),
        (lambda body: body[: len(body) // 3], "too few: cut off"),
        (lambda body: body + b"\0", "too many"),
        (lambda body: body + bytes(4000), "too many"),
        (lambda body: body[:-4] + np.float32("nan").tobytes(), "not finite scales.8.head.1.weight"),
        (lambda body: body[:40] + np.float32(-1).tobytes() * 8 + body[72:], "negative variance stem.1.running_var"),
    ],
    ids=["a float short", "a byte short", "a third", "a byte more", "floats more", "nan", "negative variance"],
)
def test_a_wrong_file_is_one_error_and_changes_nothing(write, body, change, message):
    loaded = network()
    before = {key: value.clone() for key, value in loaded.state_dict().items()}
    with pytest.raises(ModelError, match=message):
        load_weights(loaded, write(change(body)))
    assert all(torch.equal(before[key], value) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize(
    "built, message", [(1, "2 classes, and this one has 1"), (80, "2 classes, and this one has 80")]
)
def test_another_class_count_is_named(write, built, message):
    with pytest.raises(ModelError, match=rf"{message}: build it with classes=2"):
        load_weights(network(built), write())


@pytest.mark.parametrize(
    "content, message",
    [(b"", "is empty"), (b"\0" * 15, "too few for a header"), (struct.pack("<iiiq", -7, 2, 0, 0), "none of Darknet's")],
)
def test_a_wrong_header(write, content, message):
    with pytest.raises(ModelError, match=message):
        load_weights(network(), write(b"", content))


def test_another_network(write):
    with pytest.raises(ModelError, match="for YOLOv3, not for Conv2d"):
        load_weights(torch.nn.Conv2d(1, 1, 1), write())


def test_lengths_of_the_published_files():
    """yolov3.weights and darknet53.conv.74 from pjreddie.com, by their sizes in bytes."""
    with torch.device("meta"):
        coco = YOLOv3(classes=80)
    assert len(header()) + 4 * floats_of(coco) == 248_007_048
    assert len(header()) + 4 * (floats_of(coco.stem) + floats_of(coco.stages)) == 162_482_580
