"""AUNet against the authors' network, written down again here step by step, with the authors' names."""

import math

import numpy as np
import pytest
import torch

from mammofast.models.aunet import AUNet
from mammofast.models.layouts.aunet import convert

WIDTHS = (64, 128, 256, 512, 1024)


def official_shapes(widths, channels=3, classes=2, reduction=16, deconv=False):
    """Every key of the official state dict with its tensor's shape."""
    shapes = {}

    def conv(name, inputs, outputs, kernel=3):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, kernel, kernel), (outputs,)

    def linear(name, inputs, outputs):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name, n):
        shapes.update({f"{name}.{t}": (n,) for t in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    inputs = channels
    for stage, n in enumerate(widths, 1):
        for i, m in enumerate((inputs, n, n), 1):
            conv(f"down_block{stage}.block.conv{i}", m, n)
            norm(f"down_block{stage}.block.bn{i}", n)
        inputs = n
    for stage in range(1, 5):
        name, high, low = f"up_block{stage}", widths[5 - stage], widths[4 - stage]
        if deconv:
            shapes[f"{name}.bilinear_up.0.weight"] = (high, low, 2, 2)
            shapes[f"{name}.bilinear_up.0.bias"] = (low,)
            norm(f"{name}.bilinear_up.1", low)
        else:
            conv(f"{name}.bilinear_up.1", high, low)
            norm(f"{name}.bilinear_up.2", low)
        conv(f"{name}.add_channel_conv.0", high, 2 * high)
        norm(f"{name}.add_channel_conv.1", 2 * high)
        conv(f"{name}.smooth_conv.0", low, low)
        norm(f"{name}.smooth_conv.1", low)
        conv(f"{name}.block.conv1", 2 * low, low)
        norm(f"{name}.block.bn1", low)
        conv(f"{name}.block.conv2", low, low)
        norm(f"{name}.block.bn2", low)
        linear(f"{name}.CA.fc.0", 2 * low, 2 * low // reduction)
        linear(f"{name}.CA.fc.2", 2 * low // reduction, 2 * low)
    conv("last_conv1", widths[0], classes, 1)
    return shapes


def random_state(shapes):
    """Weights that keep the signal's size, statistics unlike those of a new network."""
    generator = torch.Generator().manual_seed(4)
    state = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif key.endswith("running_var") or (key.endswith("weight") and len(shape) == 1):
            state[key] = torch.rand(shape, generator=generator) + 0.5
        else:
            fan_in = max(1, math.prod(shape[1:]))
            state[key] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
    return state


def official_forward(state, image, deconv=False):
    """The authors' arithmetic, in double precision; upsampling and shuffling by index."""
    state = {key: value.double() for key, value in state.items()}

    def conv(x, name):
        weight = state[f"{name}.weight"]
        return torch.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(x, name):
        g, b, m, v = (state[f"{name}.{t}"][:, None, None] for t in ("weight", "bias", "running_mean", "running_var"))
        return (x - m) / torch.sqrt(v + 1e-5) * g + b

    def relu(x):
        return torch.where(x > 0, x, 0)

    x, skips = image.double(), []
    for stage in range(1, 6):
        block = f"down_block{stage}.block"
        if stage > 1:
            n, c, rows, cols = x.shape
            x = x.reshape(n, c, rows // 2, 2, cols // 2, 2).amax(dim=(3, 5))
        x = kept = relu(norm(conv(x, f"{block}.conv1"), f"{block}.bn1"))
        x = relu(norm(conv(x, f"{block}.conv2"), f"{block}.bn2"))
        x = relu(kept + norm(conv(x, f"{block}.conv3"), f"{block}.bn3"))
        skips.append(x)
    skips.pop()
    for stage in range(1, 5):
        name, low = f"up_block{stage}", skips.pop()
        n, _, rows, cols = x.shape
        if deconv:
            b = torch.einsum("nirc,ioyx->norycx", x, state[f"{name}.bilinear_up.0.weight"])
            b = b.reshape(n, -1, 2 * rows, 2 * cols) + state[f"{name}.bilinear_up.0.bias"][:, None, None]
            b = relu(norm(b, f"{name}.bilinear_up.1"))
        else:
            stretched = torch.einsum("yr,nirc,xc->niyx", stretch(rows), x, stretch(cols))
            b = relu(norm(conv(stretched, f"{name}.bilinear_up.1"), f"{name}.bilinear_up.2"))
        a = relu(norm(conv(x, f"{name}.add_channel_conv.0"), f"{name}.add_channel_conv.1"))
        shuffled = a.new_empty(n, a.shape[1] // 4, 2 * rows, 2 * cols)
        for y in range(2):
            for z in range(2):
                shuffled[:, :, y::2, z::2] = a[:, 2 * y + z :: 4]
        f = relu(norm(conv(low + shuffled, f"{name}.smooth_conv.0"), f"{name}.smooth_conv.1"))
        x = torch.cat([f, b], dim=1)
        squeezed = relu(x.mean(dim=(2, 3)) @ state[f"{name}.CA.fc.0.weight"].T + state[f"{name}.CA.fc.0.bias"])
        gate = squeezed @ state[f"{name}.CA.fc.2.weight"].T + state[f"{name}.CA.fc.2.bias"]
        x = x / (1 + torch.exp(-gate))[:, :, None, None]
        x = relu(norm(conv(x, f"{name}.block.conv1"), f"{name}.block.bn1"))
        x = relu(norm(conv(x, f"{name}.block.conv2"), f"{name}.block.bn2"))
    return conv(x, "last_conv1")


def stretch(n):
    """Bilinear to twice the size with aligned corners, as a matrix."""
    at = np.arange(2 * n) * (n - 1) / (2 * n - 1)
    return torch.tensor(np.stack([np.interp(at, np.arange(n), row) for row in np.eye(n)], axis=1))


SMALL = (8, 16, 32, 64, 128)


@pytest.mark.parametrize(
    "options", [{"deconv": False}, {"deconv": True}, {"reduction": 4, "channels": 1, "classes": 1}], ids=str
)
def test_an_official_state_dict_gives_the_authors_output(options):
    state = random_state(official_shapes(SMALL, **options))
    network = AUNet(width=1 / 8, **options).eval()
    network.load_state_dict(convert(state))
    image = torch.randn(2, options.get("channels", 3), 32, 48, generator=torch.Generator().manual_seed(1))
    expected = official_forward(state, image, options.get("deconv", False))
    assert expected.std() > 0.1
    with torch.no_grad():
        torch.testing.assert_close(network(image).double(), expected, atol=1e-4, rtol=1e-4)


def test_the_layout_has_the_official_files_size():
    sizes = {key: math.prod(shape) for key, shape in official_shapes(WIDTHS).items()}
    buffers = {key for key in sizes if "running" in key or key.endswith("num_batches_tracked")}
    assert sum(n for key, n in sizes.items() if key not in buffers) == 75_495_162
    assert sum(sizes[key] for key in buffers) == 27_299
    with torch.device("meta"):
        network = AUNet()
        state = convert({key: torch.empty(shape) for key, shape in official_shapes(WIDTHS).items()})
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in network.state_dict().items()}


def test_a_file_without_batch_counters_is_complete():
    state = random_state(official_shapes(SMALL))
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    AUNet(width=1 / 8).load_state_dict(convert(old))


def test_missing_and_unexpected_keys_are_named():
    state = random_state(official_shapes(SMALL))
    with pytest.raises(ValueError, match=r"missing none, unexpected classifier\.weight;"):
        convert(state | {"classifier.weight": torch.zeros(1)})
    del state["up_block3.CA.fc.2.bias"]
    with pytest.raises(ValueError, match=r"missing up_block3\.CA\.fc\.2\.bias, unexpected none;"):
        convert(state)
    with pytest.raises(ValueError, match=r"missing .* more, unexpected module\.down_block1.* and \d+ more.*prefix"):
        convert({f"module.{key}": value for key, value in state.items()})
