"""The networks of P1 and P2: what leaves them, what they look at, and the same in ONNX Runtime."""

import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from mammofast.errors import ModelError
from mammofast.models import create, find, names

FAMILIES = ("aunet", "unet_p2", "fusionnet", "fc_densenet", "aspp_fc_densenet")
ROWS = [name for name in names() if find(name).factory.partition(":")[0] in FAMILIES]
# One row for each graph: rows that differ in numbers only would export the same again.
GRAPHS = {
    "aunet": {},
    "aunet with deconvolutions": {"deconv": True},
    "unet-p2": {},
    "unet-p2-res-deep": {"deconv": True},
    "fusionnet": {},
    "fc-densenet56-gray": {},
    "fc-densenet103-p2": {},
    "aspp-fc-densenet": {},
    "aspp-fc-densenet-strided": {},
}


def trained(network, channels):
    """Weights that carry the image to the output; ReLUs mostly open, which lets no rounding error grow.

    Normalizations have the statistics of their input.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.normal_(module.bias, 0, 0.1)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 1, 0.2)
    with torch.no_grad():
        network.train()(torch.rand(2, channels, 64, 96))
    return network.eval()


@pytest.mark.parametrize("name", ROWS)
def test_logits_have_the_inputs_size(name):
    entry = find(name)
    with torch.device("meta"):
        network = create(name, width=1 / 8).eval()
        side = network.stride
        classes = create(name).head.out_channels
        logits = network(torch.zeros(2, entry.input[0], 3 * side, 2 * side))
    assert tuple(logits.shape) == (2, classes, 3 * side, 2 * side)
    assert network.margin == 0


@pytest.mark.parametrize("name", ["aunet", "unet-p2", "fusionnet", "fc-densenet56", "aspp-fc-densenet"])
def test_channels_classes_and_width_are_options(name):
    network = create(name, channels=2, classes=5, width=0.11).eval()
    side = network.stride
    assert tuple(network(torch.zeros(1, 2, side, 2 * side)).shape) == (1, 5, side, 2 * side)
    assert sum(p.numel() for p in network.parameters()) < find(name).parameters / 40


@pytest.mark.parametrize("graph", GRAPHS)
def test_onnx_runtime_agrees(graph, tmp_path):
    name = graph.split()[0]
    torch.manual_seed(0)
    network = create(name, width=1 / 8, **GRAPHS[graph])
    channels, shape = find(name).input[0], (64, 96)
    trained(network, channels)
    file = tmp_path / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.rand(1, channels, *shape),),
            str(file),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
            opset_version=18,
            dynamo=False,
        )
    images = torch.rand(3, channels, *shape)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": images.numpy()})
    with torch.no_grad():
        expected = network(images).numpy()
    assert np.ptp(expected, axis=0).mean() > 0.05, "the images make no difference"
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def mean_weights(network):
    """Convolutions that average: what reaches a pixel reaches it with a weight above 0, and nothing grows."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.fill_(1 / module.weight[0].numel())
                module.bias.zero_()
    return network.double().eval()


BOUNDED = {
    "unet-p2": ("unet-p2", {"align_corners": False}),
    "unet-p2 with deconvolutions": ("unet-p2", {"deconv": True}),
    "unet-p2-deep-res": ("unet-p2-deep-res", {"align_corners": False}),
    "fusionnet": ("fusionnet", {"align_corners": False}),
    "fc-densenet": ("fc-densenet56", {"layers": (1, 2, 1, 3, 1, 2, 2)}),
    "fc-densenet, bilinear": (
        "fc-densenet103-p2",
        {"layers": (1, 2, 1, 3, 1, 2, 2), "align_corners": False},
    ),
    "aspp-fc-densenet": ("aspp-fc-densenet", {}),
    "aspp-fc-densenet-strided": ("aspp-fc-densenet-strided", {}),
}


@pytest.mark.parametrize("case", BOUNDED)
def test_no_pixel_sees_beyond_the_halo_and_some_see_as_far(case):
    name, options = BOUNDED[case]
    network = mean_weights(create(name, channels=1, width=1 / 32, **options))
    halo, stride = network.halo, network.stride
    assert halo % stride == 0
    middle = -(-halo // stride) * stride
    quiet = torch.rand(1, 1, stride, 2 * middle + stride, dtype=torch.double)
    with torch.no_grad():
        before = network(quiet)[0, 0, :, middle : middle + stride]

        def changed(reach):
            """Which columns of the middle cell see anything farther than ``reach`` to their left or right."""
            seen = []
            for column in range(stride):
                loud = quiet.clone()
                at = middle + column
                loud[..., : max(0, at - reach)] += 1e60
                loud[..., at + reach + 1 :] += 1e60
                after = network(loud)[0, 0, :, middle + column]
                seen.append(not torch.allclose(after, before[:, column], rtol=1e-9, atol=0))
            return seen

        assert not any(changed(halo))
        assert any(changed(halo - stride))


@pytest.mark.parametrize("name", ["unet-p2", "fusionnet", "fc-densenet103-p2"])
def test_with_aligned_corners_a_pixel_depends_on_the_images_size(name):
    options = {"layers": (1, 1, 1, 1, 1)} if name.startswith("fc") else {}
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 1024, dtype=torch.double)
    for align_corners in (True, False):
        network = trained(create(name, width=1 / 8, align_corners=align_corners, **options), 3).double()
        with torch.no_grad():
            whole, tile = network(image)[..., 512:528], network(image[..., :832])[..., 512:528]
        if align_corners:
            assert network.halo is None
            assert (whole - tile).abs().max() > 1e-3 * whole.std()
        else:
            assert network.halo <= 832 - 528
            torch.testing.assert_close(whole, tile)


def test_aunets_attention_sees_the_whole_image():
    torch.manual_seed(0)
    network = trained(create("aunet", width=1 / 8), 3)
    assert network.halo is None
    image = torch.rand(1, 3, 16, 2048)
    far = image.clone()
    far[..., -16:] += 10
    with torch.no_grad():
        assert (network(image) - network(far))[..., :16].abs().max() > 1e-5


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("unet-p2", {"decoder": "dense"}, "basic, deep, res, not 'dense'"),
        ("aspp-fc-densenet", {"td": "pool"}, "literal, strided, not 'pool'"),
        ("fc-densenet103", {"upsample": "nearest"}, "deconv or bilinear, not 'nearest'"),
        ("fc-densenet103", {"layers": (4, 4)}, "got 2 blocks"),
    ],
)
def test_an_option_that_is_none_says_which_there_are(name, options, words):
    with pytest.raises(ModelError, match=words):
        create(name, **options)
