"""torchvision's VGG and ResNet, written anew from its published module trees: ours compute the same after import."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from mammofast.models import create
from mammofast.models.layouts.torchvision import convert
from mammofast.models.resnet import ResNet
from mammofast.models.unet import UNet
from mammofast.models.vgg import vgg


class TorchvisionVGG(nn.Module):
    """``torchvision.models.vgg``: features, avgpool, classifier."""

    D = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
    E = (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M")

    def __init__(self, configuration, divide, classes=1000):
        super().__init__()
        layers, inputs = [], 3
        for entry in configuration:
            if entry == "M":
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                layers += [nn.Conv2d(inputs, entry // divide, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                inputs = entry // divide
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        full = 4096 // divide
        self.classifier = nn.Sequential(
            nn.Linear(inputs * 7 * 7, full),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(full, full),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(full, classes),
        )


def norm_act(x, norm):
    return functional.relu(norm(x))


class TorchvisionBasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inplanes, planes, stride, downsample):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        out = self.bn2(self.conv2(norm_act(self.conv1(x), self.bn1)))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


class TorchvisionBottleneck(nn.Module):
    expansion = 4

    def __init__(self, inplanes, planes, stride, downsample):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = downsample

    def forward(self, x):
        out = norm_act(self.conv2(norm_act(self.conv1(x), self.bn1)), self.bn2)
        out = self.bn3(self.conv3(out))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


class TorchvisionResNet(nn.Module):
    """``torchvision.models.resnet``: conv1, bn1, maxpool, layer1 to layer4, fc."""

    def __init__(self, block, layers, divide, classes=1000):
        super().__init__()
        self.inplanes = 64 // divide
        self.conv1 = nn.Conv2d(3, self.inplanes, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.inplanes)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._make_layer(block, 64 // divide, layers[0], 1)
        self.layer2 = self._make_layer(block, 128 // divide, layers[1], 2)
        self.layer3 = self._make_layer(block, 256 // divide, layers[2], 2)
        self.layer4 = self._make_layer(block, 512 // divide, layers[3], 2)
        self.fc = nn.Linear(512 // divide * block.expansion, classes)

    def _make_layer(self, block, planes, blocks, stride):
        downsample = None
        if stride != 1 or self.inplanes != planes * block.expansion:
            downsample = nn.Sequential(
                nn.Conv2d(self.inplanes, planes * block.expansion, 1, stride, bias=False),
                nn.BatchNorm2d(planes * block.expansion),
            )
        layers = [block(self.inplanes, planes, stride, downsample)]
        self.inplanes = planes * block.expansion
        layers += [block(self.inplanes, planes, 1, None) for _ in range(1, blocks)]
        return nn.Sequential(*layers)

    def forward(self, x):
        x = self.maxpool(norm_act(self.conv1(x), self.bn1))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def trained(network):
    """Random weights and statistics, as if it had been trained."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / 10)
    return network.eval()


RESNETS = {18: (TorchvisionBasicBlock, (2, 2, 2, 2)), 101: (TorchvisionBottleneck, (3, 4, 23, 3))}


@pytest.mark.parametrize("depth", RESNETS)
def test_an_imported_resnet_computes_what_torchvisions_does(depth):
    theirs = trained(TorchvisionResNet(*RESNETS[depth], divide=8, classes=10))
    ours = ResNet(depth, width=1 / 8)
    ours.load_state_dict(convert(theirs.state_dict(), ours))
    image = torch.randn(2, 3, 65, 96)
    with torch.no_grad():
        expected, got = theirs(image), ours.eval()(image)[-1]
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network, depth", [("fcn8s", "D"), ("v19-unet-pp", "E")])
def test_imported_vgg_convolutions_compute_what_torchvisions_do(network, depth):
    theirs = TorchvisionVGG(getattr(TorchvisionVGG, depth), divide=16, classes=10).eval()
    ours = create(network, channels=3, width=1 / 16).eval()
    missing, unexpected = ours.load_state_dict(convert(theirs.state_dict(), ours), strict=False)
    assert not unexpected
    assert not any(key.startswith("features.") for key in missing)
    image = torch.randn(2, 3, 64, 96)
    cut = len(theirs.features) - 1
    with torch.no_grad():
        torch.testing.assert_close(ours.features[:cut](image), theirs.features[:cut](image), rtol=1e-4, atol=1e-4)


def test_fully_connected_layers_become_the_convolutions_of_fcn():
    theirs = TorchvisionVGG(TorchvisionVGG.D, divide=16, classes=10).eval()
    ours = create("fcn32s", width=1 / 16).eval()
    ours.load_state_dict(convert(theirs.state_dict(), ours), strict=False)
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs.classifier[:5](torch.flatten(theirs.avgpool(theirs.features(image)), 1))
        got = ours.head[:5](ours.features(image))
    # 7 × 7 maps: in their middle, fc6 sees them all and none of its padding.
    torch.testing.assert_close(got[:, :, 3, 3], expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 1e-3


def test_dilation10_takes_vgg16s_layers_past_its_missing_poolings():
    theirs = TorchvisionVGG(TorchvisionVGG.D, divide=16, classes=10)
    ours = create("dilation10-front", width=1 / 16)
    ours.load_state_dict(convert(theirs.state_dict(), ours), strict=False)
    # conv5_1, after the pooling that Dilation10 leaves out.
    assert torch.equal(ours.features[24].weight, theirs.features[24].weight)
    assert torch.equal(ours.head.fc7.weight.flatten(1), theirs.classifier[3].weight)


def test_full_size_networks_have_torchvisions_keys():
    # What the published files list: vgg16 32 entries, vgg19 38, resnet18 122, resnet101 626, of which 6 and 2 are
    # fully connected layers'.
    with torch.device("meta"):
        features = {16: vgg(16).state_dict(), 19: vgg(19).state_dict()}
        trunks = {depth: ResNet(depth).state_dict() for depth in (18, 101)}
        fcn = create("fcn8s").state_dict()
    assert {depth: len(keys) + 6 for depth, keys in features.items()} == {16: 32, 19: 38}
    assert {depth: len(keys) + 2 for depth, keys in trunks.items()} == {18: 122, 101: 626}
    assert tuple(features[19]["34.weight"].shape) == (512, 512, 3, 3)
    assert tuple(features[16]["28.bias"].shape) == (512,)
    for key, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.num_batches_tracked": (),
        "layer2.0.conv1.weight": (128, 256, 1, 1),
        "layer2.3.conv2.weight": (128, 128, 3, 3),
        "layer3.22.bn3.running_var": (1024,),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
    }.items():
        assert tuple(trunks[101][key].shape) == shape
    assert "layer1.0.downsample.0.weight" not in trunks[18]
    assert tuple(trunks[18]["layer4.0.downsample.0.weight"].shape) == (512, 256, 1, 1)
    assert tuple(fcn["head.fc6.weight"].shape) == (4096, 512, 7, 7)


def resnet18(**changes):
    state = dict(TorchvisionResNet(*RESNETS[18], divide=8, classes=10).state_dict())
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


def test_files_older_than_batch_counters_are_taken():
    state = {key: value for key, value in resnet18().items() if not key.endswith("num_batches_tracked")}
    ours = ResNet(18, width=1 / 8)
    ours.load_state_dict(convert(state, ours))
    assert int(ours.bn1.num_batches_tracked) == 0


def test_the_trunk_inside_a_network_is_found():
    ours = create("deeplabv3-r18-gn", norm="batch", width=1 / 8)
    state = resnet18()
    part = convert(state, ours)
    assert set(part) == {f"trunk.{key}" for key in state if not key.startswith("fc.")}
    assert torch.equal(part["trunk.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])


def test_faster_rcnn_has_the_last_stage_in_its_head():
    theirs = trained(TorchvisionResNet(*RESNETS[101], divide=8, classes=10))
    ours = create("faster-rcnn-r101-c4", width=1 / 8)
    part = convert(theirs.state_dict(), ours)
    assert len(part) == len([key for key in theirs.state_dict() if not key.startswith("fc.")])
    missing, unexpected = ours.load_state_dict(part, strict=False)
    assert not unexpected
    assert {key.rpartition(".")[0] for key in missing} == {
        "trunk_and_proposals.conv", "trunk_and_proposals.objectness", "trunk_and_proposals.deltas",
        "head.classes", "head.deltas",
    }  # fmt: skip
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        got = ours.eval().head.layer4(ours.trunk_and_proposals(image)[0])
        torch.testing.assert_close(got, theirs(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"layer3.0.conv1.weight": None}, "missing layer3.0.conv1.weight, unexpected none, of another shape none"),
        ({"layer5.0.weight": torch.zeros(1)}, "missing none, unexpected layer5.0.weight,"),
        (
            {"conv1.weight": torch.zeros(8, 1, 7, 7)},
            "unexpected none, of another shape conv1.weight (8, 1, 7, 7) for (8, 3, 7, 7);",
        ),
    ],
)
def test_what_does_not_fit_is_named(changes, words):
    with pytest.raises(ValueError, match="not torchvision's state dict for the trunk of ResNet: .*" + re.escape(words)):
        convert(resnet18(**changes), ResNet(18, width=1 / 8))


def test_batch_statistics_do_not_go_into_group_normalization():
    with pytest.raises(ValueError, match=r"unexpected bn1.running_mean.*and 5\d more.*batch normalization"):
        convert(resnet18(), create("deeplabv3-r18-gn", width=1 / 8))


def test_a_matrix_of_another_length_is_no_convolution():
    state = TorchvisionVGG(TorchvisionVGG.D, divide=16, classes=10).state_dict()
    state["classifier.0.weight"] = torch.zeros(256, 32 * 6 * 6)
    with pytest.raises(ValueError, match=r"another shape classifier\.0\.weight \(256, 1152\) for \(256, 32, 7, 7\)"):
        convert(state, create("fcn32s", width=1 / 16))


def test_a_network_without_such_a_trunk_is_refused():
    with pytest.raises(ValueError, match="UNet has neither VGG's convolutions nor a ResNet"):
        convert({}, UNet(width=1 / 16))
