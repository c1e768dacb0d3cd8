"""UNet++, v19U-Net++ and Xnet: every node written out beside the network; heads; how far a pixel looks."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from mammofast.models import create

NESTED = ["unet-pp", "unet-pp-keras", "unet-pp-64", "v19-unet-pp-fast", "xnet-vgg19", "xnet-vgg19-transpose"]


def small(name, **options):
    """An eighth as wide, with batch normalization that has seen data: its own would hide a layer that is skipped."""
    torch.manual_seed(1)
    network = create(name, width=1 / 8, **options)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.uniform_(module.bias, -0.1, 0.1)
    return network.eval()


def nearest(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def bilinear(x):
    return functional.interpolate(x, size=[2 * n for n in x.shape[2:]], mode="bilinear", align_corners=False)


def pooled(x):
    return functional.max_pool2d(x, 2)


def vgg19(network, image):
    """VGG19's five blocks from torchvision's layer numbers."""
    x, maps = image, []
    for block, numbers in enumerate([(0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28, 30, 32, 34)]):
        x = pooled(x) if block else x
        for i in numbers:
            x = torch.relu(network.features[i](x))
        maps.append(x)
    return maps


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def four_rows(network, column, up):
    """X(0, 1) ... X(0, 4) of a triangle with five encoder maps; up(node, x) brings x to the node's size."""

    def node(name, *left, below):
        module = network.decoder[name]
        return module.convs(torch.cat([*left, up(module, below)], dim=1))

    x00, x10, x20, x30, x40 = column
    x01 = node("0_1", x00, below=x10)
    x11 = node("1_1", x10, below=x20)
    x21 = node("2_1", x20, below=x30)
    x31 = node("3_1", x30, below=x40)
    x02 = node("0_2", x00, x01, below=x11)
    x12 = node("1_2", x10, x11, below=x21)
    x22 = node("2_2", x20, x21, below=x31)
    x03 = node("0_3", x00, x01, x02, below=x12)
    x13 = node("1_3", x10, x11, x12, below=x22)
    x04 = node("0_4", x00, x01, x02, x03, below=x13)
    assert len(network.decoder) == 10
    return x01, x02, x03, x04


def test_v19_unet_pp_is_wired_as_drawn():
    network = small("v19-unet-pp")
    for head in network.heads.values():
        head.weight *= 30
    image = torch.rand(2, 3, 48, 32)
    nodes = four_rows(network, vgg19(network, image), lambda _, x: nearest(x))
    logits = [network.heads[str(j)](node) for j, node in enumerate(nodes, start=1)]
    expected = sum(1 / (1 + torch.exp(-x)) for x in logits) / 4
    torch.testing.assert_close(network(image), expected)
    assert expected.min() < 0.4 < 0.6 < expected.max(), "saturated or flat outputs prove nothing"
    fast = create("v19-unet-pp-fast", width=1 / 8).eval()
    fast.load_state_dict({k: v for k, v in network.state_dict().items() if k in fast.state_dict()})
    torch.testing.assert_close(fast(image), logits[3])


@pytest.mark.parametrize(
    "name, up", [("unet-pp", lambda _, x: bilinear(x)), ("unet-pp-keras", lambda node, x: node.up(x))]
)
def test_unet_pp_is_wired_as_drawn(name, up):
    network = small(name)
    image = torch.rand(2, 1, 32, 48)
    column = [network.encoder[0](image)]
    for stage in list(network.encoder)[1:]:
        column.append(stage(pooled(column[-1])))
    torch.testing.assert_close(network(image), network.heads["4"](four_rows(network, column, up)[3]))


@pytest.mark.parametrize("name, up", [("xnet-vgg19", None), ("xnet-vgg19-transpose", "own")])
def test_xnet_is_wired_as_coded(name, up):
    network = small(name)
    image = torch.rand(1, 3, 64, 32)
    maps = vgg19(network, image)
    # (row, column) counted from 1 as in the Keras layer names; column 1 sees the pooled map.
    x = {(row, 0): value for row, value in enumerate(maps, start=1)}
    for column in range(1, 6):
        for row in range(1, 7 - column):
            module = network.decoder[f"{row - 1}_{column}"]
            below = pooled(maps[row - 1]) if column == 1 else x[row + 1, column - 1]
            below = module.up(below) if up else nearest(below)
            x[row, column] = module.convs(torch.cat([*(x[row, c] for c in range(column)), below], dim=1))
    torch.testing.assert_close(network(image), network.head(x[1, 5]))
    assert len(network.decoder) == 15
    assert [x[row, 1].shape[1] for row in range(1, 6)] == [4, 8, 16, 32, 2]


@pytest.mark.parametrize("name", ["v19-unet-pp", "unet-pp-deep-supervision"])
def test_while_training_each_head_gives_its_logits(name):
    network = small(name)
    image = torch.rand(1, first_channels(network), 32, 32)
    # Training and eval must differ in their result's form alone.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(False)
    mean = network(image)
    network.training = network.heads.training = True
    logits = network(image)
    assert [tuple(x.shape) for x in logits] == [(1, 1, 32, 32)] * 4
    torch.testing.assert_close(torch.sigmoid(torch.cat(logits)).mean(dim=0, keepdim=True), mean)


def first_channels(network):
    return next(m for m in network.modules() if isinstance(m, nn.Conv2d)).in_channels


def transparent(name):
    """All weights positive and nothing else added: whatever is in the image arrives, and nothing makes exactly 0."""
    network = create(name, width=1 / 8).eval().double()
    for key, parameter in network.named_parameters():
        nn.init.constant_(parameter, 0 if key.endswith("bias") else 1 / max(1, parameter[0].numel()))
    return network


@pytest.mark.parametrize("name", [*NESTED, "vgg19-unet"])
def test_a_pixel_depends_on_nothing_outside_the_halo(name):
    network = transparent(name)
    side = 2 * -(-(network.halo + 32) // 32) * 32

    def arrives(place, reach):
        """Tell whether what lies farther than ``reach`` rows away shows at a pixel of the row ``place``."""
        image = torch.ones(1, first_channels(network), side, 32, dtype=torch.float64)
        image[:, :, max(0, place - reach) : place + reach + 1] = 0
        return network(image)[0, 0, place, 16].item() > 0

    for place in (side // 2, side // 2 + network.stride - 1):
        assert not arrives(place, network.halo)
    assert arrives(side // 2, network.halo - 2 * network.stride), "a halo far too large costs time"


@pytest.mark.parametrize("name", ["unet-pp", "xnet-vgg19"])
def test_an_unknown_way_up_is_named(name):
    with pytest.raises(Exception, match=r"up is one of .*, not 'sideways'"):
        create(name, up="sideways")


def test_vgg19_unet_is_a_u_net_on_vgg19s_blocks():
    network = small("vgg19-unet")
    image = torch.rand(2, 3, 32, 48)
    x0, x1, x2, x3, x = vgg19(network, image)
    for node, skip in zip(network.decoder, [x3, x2, x1, x0], strict=True):
        x = node.convs(torch.cat([skip, nearest(x)], dim=1))
    torch.testing.assert_close(network(image), network.head(x))
