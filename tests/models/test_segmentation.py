"""P3's networks and P1's baselines: sizes, the papers' steps written plainly beside them, export."""

import itertools
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from mammofast.errors import ModelError
from mammofast.models import create
from mammofast.models.deeplabv3 import ASPP
from mammofast.models.dilation10 import Context
from mammofast.models.pspnet import PyramidPooling, region_means
from mammofast.models.resizing import fill_bilinear, stretch
from mammofast.models.resnet import GroupNorm, ResNet
from mammofast.models.vgg import stages, vgg

# A small input of each network.
SIDES = {
    "fcn32s": (64, 96),
    "fcn16s": (64, 96),
    "fcn8s": (64, 96),
    "unet": (64, 48),
    "unet-bn": (64, 48),
    "unet-valid": (188, 204),
    "dilation10-front": (64, 48),
    "dilation10-context": (64, 48),
    "deeplabv3-r18-gn": (65, 96),
    "deeplabv3-r18-gn-extra": (64, 96),
    "pspnet-r50": (64, 96),
    "pspnet-r50-aux": (64, 96),
    "deeplabv3plus-r50": (64, 96),
}


def settled(name, **options):
    """A small network whose batch normalizations have seen data: random ones swell from block to block."""
    torch.manual_seed(2)
    network = create(name, width=1 / 8, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(2, 3, *SIDES[name]))
    return network.eval()


def meta(build):
    """Built and run without memory or time."""
    with torch.device("meta"):
        return build().eval()


def image(*shape):
    return torch.zeros(*shape, device="meta")


@pytest.mark.parametrize("name", SIDES)
def test_an_exported_network_agrees(name, tmp_path):
    network, (rows, cols) = settled(name), SIDES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, rows, cols),),
            str(tmp_path / "network.onnx"),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
            opset_version=18,
            dynamo=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    batch = torch.randn(3, 3, rows, cols)
    with torch.no_grad():
        logits = network(batch)
    (got,) = session.run(None, {"image": batch.numpy()})
    assert got.shape == (3, 2, rows - 2 * network.margin, cols - 2 * network.margin)
    assert logits.softmax(dim=1).std() > 1e-3
    np.testing.assert_allclose(torch.from_numpy(got).softmax(dim=1), logits.softmax(dim=1), rtol=0, atol=1e-4)
    operators = {node.op_type for node in onnx.load(tmp_path / "network.onnx").graph.node}
    assert not operators & {"If", "Loop", "Expand", "NonZero"}
    # Group normalization, and bilinear resizing by no whole factor, ask for the shape; everything else is a constant.
    assert "Shape" not in operators or name.startswith(("deeplabv3-", "pspnet-"))


@pytest.mark.parametrize("name", SIDES)
def test_channels_and_classes_are_chosen(name):
    network = meta(lambda: create(name, channels=1, classes=5, width=1 / 8))
    rows, cols = 188 + 8 * network.stride, 188 + 4 * network.stride
    if not network.margin:
        rows, cols = 4 * network.stride, 2 * network.stride
    expected = (2, 5, rows - 2 * network.margin, cols - 2 * network.margin)
    assert network(image(2, 1, rows, cols)).shape == expected


def fcn(network, x, last):
    """Section 2.1 of P3, with Long et al.'s scores of the poolings: upsample, add, upsample."""
    layers = iter([layer for layer in network.features if isinstance(layer, nn.Conv2d)])
    pools = []
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            layer = next(layers)
            x = functional.conv2d(x, layer.weight, layer.bias, padding=1).relu()
        x = functional.max_pool2d(x, 2)
        pools.append(x)
    x = functional.conv2d(x, network.head.fc6.weight, network.head.fc6.bias, padding=3).relu()
    x = functional.conv2d(x, network.head.fc7.weight, network.head.fc7.bias).relu()
    x = functional.conv2d(x, network.head.score.weight, network.head.score.bias)
    for i in range({32: 0, 16: 1, 8: 2}[last]):
        score, double = network.score_pools[i], network.doublings[i]
        x = functional.conv_transpose2d(x, double.weight, double.bias, stride=2, padding=1)
        x = x + functional.conv2d(pools[3 - i], score.weight, score.bias)
    return functional.interpolate(x, scale_factor=last, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("last", [32, 16, 8])
def test_fcn_is_the_papers(last):
    network = settled(f"fcn{last}s")
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(network(x), fcn(network, x, last), rtol=1e-5, atol=1e-6)


def test_the_vgg19_stages_end_at_strides_1_to_16():
    trunk = vgg(19, width=1 / 16, pools=4)
    x, sizes = torch.zeros(1, 3, 32, 64), []
    for stage in stages(trunk):
        x = stage(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes == [(4, 32, 64), (8, 16, 32), (16, 8, 16), (32, 4, 8), (32, 2, 4)]
    assert [sum(isinstance(layer, nn.Conv2d) for layer in stage) for stage in stages(trunk)] == [2, 2, 4, 4, 4]


def centre(skip, x):
    rows, cols = ((theirs - ours) / 2 for theirs, ours in zip(skip.shape[2:], x.shape[2:], strict=True))
    assert rows == int(rows)
    assert cols == int(cols)
    return skip[:, :, int(rows) : int(rows) + x.shape[2], int(cols) : int(cols) + x.shape[3]], int(rows)


@pytest.mark.parametrize("name, offsets", [("unet-valid", [4, 16, 40, 88]), ("unet", [0, 0, 0, 0])])
def test_unet_crops_skips_at_their_centre(name, offsets):
    network = settled(name)
    padding = 0 if name == "unet-valid" else 1
    convolutions = iter([m for m in [*network.contracting.modules(), *network.expanding.modules()] if is_conv(m)])

    def pair(x):
        for convolution in itertools.islice(convolutions, 2):
            x = functional.conv2d(x, convolution.weight, convolution.bias, padding=padding).relu()
        return x

    x = torch.randn(1, 3, 188 if padding == 0 else 64, 204 if padding == 0 else 48)
    batch, skips, seen = x, [], []
    with torch.no_grad():
        for _ in range(4):
            skips.append(pair(x))
            x = functional.max_pool2d(skips[-1], 2)
        x = pair(x)
        for double, skip in zip(network.doublings, reversed(skips), strict=True):
            x = functional.conv_transpose2d(x, double[0].weight, double[0].bias, stride=2).relu()
            skip, offset = centre(skip, x)
            seen.append(offset)
            x = pair(torch.cat([skip, x], dim=1))
        torch.testing.assert_close(network(batch), network.head(x), rtol=1e-5, atol=1e-6)
    assert seen == offsets


def is_conv(module):
    return isinstance(module, nn.Conv2d)


def test_unet_without_padding_gives_388_of_572_and_its_bottom_28():
    network = meta(lambda: create("unet-valid"))
    assert network(image(1, 3, 572, 572)).shape == (1, 2, 388, 388)
    assert network.margin == (572 - 388) // 2
    seen = []
    network.contracting[4].register_forward_hook(lambda *call: seen.append(tuple(call[2].shape)))
    network(image(1, 3, 572, 572))
    assert seen == [(1, 1024, 28, 28)]


def test_a_unet_without_padding_gives_the_same_in_overlapping_tiles():
    network = settled("unet-valid")
    x = torch.randn(1, 3, 188, 236)
    with torch.no_grad():
        whole, tile = network(x), network(x[..., 32:])
    torch.testing.assert_close(tile, whole[..., 32:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size, features", [((632, 632), (79, 79)), ((1024, 1400), (128, 175))])
def test_dilation10_sees_the_papers_feature_sizes(size, features):
    network = meta(lambda: create("dilation10-context", width=1 / 8))
    assert network.features(image(1, 3, *size)).shape[2:] == features
    assert network.head(network.features(image(1, 3, *size))).shape == (1, 2, *features)
    assert network(image(1, 3, *size)).shape == (1, 2, *size)


def test_the_context_module_starts_as_the_identity_of_what_is_positive():
    torch.manual_seed(4)
    context = Context(19)
    dilations = [layer.dilation[0] for layer in context if is_conv(layer)]
    assert dilations == [1, 1, 2, 4, 8, 16, 32, 64, 1, 1]
    maps = torch.rand(1, 19, 24, 24)
    with torch.no_grad():
        assert (context(maps) - maps).abs().mean() < 1
        noise = torch.cat([layer.weight.flatten() for layer in context if is_conv(layer)])
        assert 0.0095 < noise[noise.abs() < 0.2].std() < 0.0105
        for layer in context:
            if is_conv(layer):
                layer.weight[layer.weight < 0.2] = 0
                layer.weight[layer.weight > 0.2] = 1
        assert torch.equal(context(maps), maps)


@pytest.mark.parametrize(
    "cols, values", [(1, [0.5]), (2, [0, 1]), (3, [0, 0.5, 1]), (4, [0, 0.25, 0.75, 1]), (5, [0, 0.1, 0.5, 0.9, 1])]
)
def test_resizing_interpolates_between_pixel_centres(cols, values):
    pair = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    expected = torch.tensor([values, values], dtype=torch.float32).reshape(1, 1, 2, cols)
    torch.testing.assert_close(stretch(pair, (2, cols)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stride, groups", [(8, 3), (2, 1)])
def test_bilinear_deconvolution_is_resizing_but_at_the_edge(stride, groups):
    layer = fill_bilinear(nn.ConvTranspose2d(3, 3, 2 * stride, stride, stride // 2, groups=groups, bias=groups == 1))
    maps = torch.randn(2, 3, 9, 11)
    inner = (..., slice(stride, -stride), slice(stride, -stride))
    with torch.no_grad():
        got, resized = layer(maps), stretch(maps, (9 * stride, 11 * stride))
    torch.testing.assert_close(got[inner], resized[inner], rtol=1e-5, atol=1e-6)


def test_dilation10s_last_layer_is_not_trained():
    network = create("dilation10-front", width=1 / 64)
    assert [name for name, value in network.named_parameters() if not value.requires_grad] == ["up.weight"]


def test_deeplabv3_has_97_features_of_the_papers_769_pixels_and_keeps_their_size():
    network = meta(lambda: create("deeplabv3-r18-gn"))
    shapes = [tuple(stage.shape[1:]) for stage in network.trunk(image(1, 3, 769, 769))]
    assert shapes == [(64, 193, 193), (128, 97, 97), (256, 97, 97), (512, 97, 97)]
    assert network(image(1, 3, 769, 769)).shape == (1, 2, 769, 769)


def test_deeplabv3_is_dilated_as_the_paper_says():
    network = meta(lambda: create("deeplabv3-r18-gn"))
    for stage, dilation in {"layer1": 1, "layer2": 1, "layer3": 2, "layer4": 4}.items():
        convolutions = [m for m in network.trunk.get_submodule(stage).modules() if is_conv(m) and m.kernel_size[0] == 3]
        assert [m.dilation for m in convolutions] == [(dilation, dilation)] * 4
    assert [branch[0].dilation[0] for branch in network.aspp.branches] == [1, 12, 24, 36]
    norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {32}
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


@pytest.mark.parametrize("channels, groups", [(512, 32), (64, 32), (48, 8), (8, 4), (9, 1)])
def test_group_normalization_is_torchs(channels, groups):
    norm, maps = GroupNorm(channels), torch.randn(2, channels, 5, 7)
    nn.init.normal_(norm.weight)
    expected = functional.group_norm(maps, groups, norm.weight, norm.bias)
    torch.testing.assert_close(norm(maps), expected, rtol=1e-5, atol=1e-6)


def test_the_pyramid_joins_its_branches_and_the_images_mean():
    torch.manual_seed(5)
    aspp = ASPP(6, 4, (2, 3), nn.BatchNorm2d).eval()
    x = torch.randn(2, 6, 9, 8)
    one, two, three = (branch[0].weight for branch in aspp.branches)
    shrink = (1 + aspp.project[1].eps) ** -0.5  # what an untrained batch normalization does
    with torch.no_grad():
        maps = [
            functional.conv2d(x, one),
            functional.conv2d(x, two, padding=2, dilation=2),
            functional.conv2d(x, three, padding=3, dilation=3),
            functional.conv2d(x.mean(dim=(2, 3), keepdim=True), aspp.pooling[1][0].weight).repeat(1, 1, 9, 8),
        ]
        joined = torch.cat([(shrink * each).relu() for each in maps], dim=1)
        expected = (shrink * functional.conv2d(joined, aspp.project[0].weight)).relu()
        torch.testing.assert_close(aspp(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (6, 7), (5, 13)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_region_means_are_adaptive_average_pooling(size, bins):
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(region_means(maps, bins), functional.adaptive_avg_pool2d(maps, bins))


def test_pyramid_pooling_puts_the_means_behind_the_maps():
    pooling = PyramidPooling(8, 3).eval()
    maps = torch.randn(1, 8, 12, 18)
    with torch.no_grad():
        got = pooling(maps)
        expected = [maps]
        for bins, unit in zip((1, 2, 3, 6), pooling.units, strict=True):
            means = unit(functional.adaptive_avg_pool2d(maps, bins))
            expected.append(functional.interpolate(means, size=(12, 18), mode="bilinear", align_corners=False))
    torch.testing.assert_close(got, torch.cat(expected, dim=1), rtol=1e-5, atol=1e-6)


def test_pspnet_scores_twice_while_training_with_its_auxiliary_head():
    network = meta(lambda: create("pspnet-r50-aux"))
    logits, aux = network.train()(image(2, 3, 72, 64))
    assert logits.shape == aux.shape == (2, 2, 72, 64)
    assert isinstance(network.eval()(image(2, 3, 72, 64)), torch.Tensor)


@pytest.mark.parametrize(
    "name, sizes",
    [("pspnet-r50", [(128, 128), (64, 64), (64, 64), (64, 64)]), ("deeplabv3plus-r50", [128, 64, 32, 32])],
)
def test_baselines_have_their_output_stride_at_512(name, sizes):
    trunk = meta(lambda: create(name)).trunk
    sizes = [(size, size) if isinstance(size, int) else size for size in sizes]
    assert [tuple(stage.shape[2:]) for stage in trunk(image(1, 3, 512, 512))] == sizes


def test_deeplabv3plus_decodes_304_maps_at_stride_4():
    network = meta(lambda: create("deeplabv3plus-r50"))
    seen = []
    network.decoder[0].register_forward_hook(lambda *call: seen.append(tuple(call[1][0].shape)))
    assert network(image(1, 3, 512, 512)).shape == (1, 2, 512, 512)
    assert seen == [(1, 304, 128, 128)]


def test_caffes_resnet_strides_first_and_rounds_its_pooling_up():
    trunk = meta(lambda: ResNet(50, caffe=True))
    assert trunk.layer2[0].conv1.stride == (2, 2)
    assert trunk.layer2[0].conv2.stride == (1, 1)
    assert trunk.stem(image(1, 3, 600, 1000)).shape[2:] == (150, 250)
    # 301 places after the first convolution.
    assert trunk.stem(image(1, 3, 602, 602)).shape[2:] == (150, 150)
    assert trunk.stem(image(1, 3, 604, 604)).shape[2:] == (151, 151)


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("fcn8s", {"prediction_stride": 4}, "prediction_stride is 8, 16 or 32, not 4"),
        ("unet", {"padding": "reflect"}, 'padding is "same" or "valid", not \'reflect\''),
    ],
)
def test_wrong_options_are_named(name, options, words):
    with pytest.raises(ModelError, match=words):
        create(name, **options)
