"""FC-DenseNet and its ASPP variant against their layers applied one after the other by hand."""

import pytest
import torch
from torch import nn

from mammofast.models import create
from mammofast.models.aspp_fc_densenet import ASPPFCDenseNet
from mammofast.models.fc_densenet import Deconv, FCDenseNet


def stacks(network, image):
    """Channels that each block's stack ends with: read off the layers behind it."""
    read = {}
    hooks = [
        module.register_forward_hook(lambda m, inputs, _, name=name: read.update({name: inputs[0].shape[1]}))
        for name, module in network.named_modules()
    ]
    with torch.device("meta"), torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return read


def test_stack_widths_of_fc_densenet103():
    with torch.device("meta"):
        network = create("fc-densenet103").eval()
        read = stacks(network, torch.zeros(1, 3, 32, 32))
    assert [read[f"pools.{i}"] for i in range(5)] == [112, 192, 304, 464, 656]
    assert [read[f"ups.{i}"] for i in range(5)] == [896, 1088, 816, 576, 384]
    assert [read[f"ups.{i}.up"] for i in range(5)] == [240, 192, 160, 112, 80]
    assert read["head"] == 256


def test_the_whole_stack_is_upsampled_in_the_variant_of_p2():
    with torch.device("meta"):
        read = stacks(create("fc-densenet103-p2").eval(), torch.zeros(1, 3, 32, 32))
    assert [read[f"ups.{i}.up"] for i in range(5)] == [896, 1088, 816, 576, 384]
    assert read["head"] == 256


def test_stack_widths_of_fc_densenet56_and_its_aspp_variant():
    with torch.device("meta"):
        read = stacks(create("fc-densenet56").eval(), torch.zeros(1, 3, 32, 32))
        aspp = stacks(create("aspp-fc-densenet").eval(), torch.zeros(1, 1, 32, 32))
    assert [read[f"pools.{i}"] for i in range(5)] == [96, 144, 192, 240, 288]
    assert [read[f"ups.{i}"] for i in range(5)] == [336, 384, 336, 288, 240]
    assert [aspp[f"pools.{i}"] for i in range(4)] == [96, 144, 192, 240]
    assert [aspp[key] for key in ("aspp", "aspp.project", "ups.0", "head")] == [240, 432, 48, 192]
    assert [aspp[f"ups.{i}"] for i in range(1, 4)] == [336, 288, 240]


def test_deconvolution_has_lasagnes_phase():
    """A valid transposed convolution of stride 2, 2n + 1 on a side, centre-cropped from (2n + 1 - 2n) // 2 = 0."""
    torch.manual_seed(0)
    deconv, x = Deconv(3, 2).double(), torch.rand(1, 3, 4, 5, dtype=torch.double)
    full = torch.zeros(1, 2, 9, 11, dtype=torch.double)
    for row in range(4):
        for col in range(5):
            full[0, :, 2 * row : 2 * row + 3, 2 * col : 2 * col + 3] += torch.einsum(
                "i,ioyx->oyx", x[0, :, row, col], deconv.weight
            )
    torch.testing.assert_close(deconv(x), full[:, :, :8, :10] + deconv.bias[:, None, None])


def dense_unit(unit, x):
    """BN, ReLU, convolution of one unit."""
    norm, conv = (next(m for m in unit.modules() if isinstance(m, kind)) for kind in (nn.BatchNorm2d, nn.Conv2d))
    return conv(norm(x).clamp(min=0))


def dense_block(block, x):
    new = []
    for unit in block:
        new.append(dense_unit(unit, torch.cat([x, *new], dim=1)))
    return torch.cat([x, *new], dim=1), torch.cat(new, dim=1)


def way_up(network, new, stack, skips, full=False):
    for transition, block in zip(network.ups, network.up, strict=True):
        upsampled = transition.up(stack if full else new)
        stack, new = dense_block(block, torch.cat([upsampled, skips.pop()], dim=1))
    return network.head(stack)


def fc_densenet(network, image, full):
    x, skips = network.stem(image), []
    for block, pool in zip(network.down, network.pools, strict=True):
        x, _ = dense_block(block, x)
        skips.append(x)
        x = torch.max_pool2d(dense_unit(pool, x), 2)
    stack, new = dense_block(network.bottleneck, x)
    return way_up(network, new, stack, skips, full)


def aspp_fc_densenet(network, image, literal):
    x, skips = network.stem(image), []
    for block, pool in zip(network.down, network.pools, strict=True):
        x, _ = dense_block(block, x)
        skips.append(x)
        x = dense_unit(pool, x)
        if literal:
            strided = [m for m in pool.modules() if isinstance(m, nn.Conv2d)][1]
            x = torch.conv2d(x, strided.weight, strided.bias, stride=2, padding=1)
    maps = [x]
    for branch, rate in zip(network.aspp.branches, (1, 6, 12, 18), strict=True):
        norm, conv = (next(m for m in branch.modules() if isinstance(m, k)) for k in (nn.BatchNorm2d, nn.Conv2d))
        padding = 0 if rate == 1 else rate
        maps.append(torch.conv2d(norm(x).clamp(min=0), conv.weight, conv.bias, padding=padding, dilation=rate))
    x = dense_unit(network.aspp.project, torch.cat(maps, dim=1))
    return way_up(network, x, x, skips)


def lively(network, channels):
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
        nn.init.normal_(norm.bias, 0, 0.3)
    network.double().train()(torch.rand(2, channels, 64, 64, dtype=torch.double))
    return network.eval()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("upsample", ["deconv", "bilinear"])
def test_fc_densenet_is_its_layers_in_order(upsample, full):
    torch.manual_seed(0)
    image = torch.rand(2, 3, 32, 48, dtype=torch.double)
    with torch.no_grad():
        network = FCDenseNet(layers=(2, 1, 3, 2, 1), growth=4, upsample=upsample, upsample_full_stack=full, width=0.5)
        lively(network, 3)
        found, expected = network(image), fc_densenet(network, image, full)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("td", ["literal", "strided"])
def test_aspp_fc_densenet_is_its_layers_in_order(td):
    torch.manual_seed(0)
    image = torch.rand(2, 1, 64, 336, dtype=torch.double)
    with torch.no_grad():
        network = lively(ASPPFCDenseNet(td=td, width=1 / 4), 1)
        found, expected = network(image), aspp_fc_densenet(network, image, td == "literal")
    assert tuple(found.shape) == (2, 2, 64, 336)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected)


def test_dropout_of_a_fifth_follows_every_convolution_but_stem_head_and_resampling():
    network = create("aspp-fc-densenet")
    rates = [m.p for m in network.modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.2] * (32 + 4 + 5)
