"""torchvision's Faster R-CNN with a ResNet-101 C4, its modules written anew: ours compute the same after import."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from mammofast.models.counting import count_layers, count_parameters
from mammofast.models.faster_rcnn import FasterRCNN
from mammofast.models.layouts.faster_rcnn import convert


class FrozenBatchNorm(nn.Module):
    """``torchvision.ops.FrozenBatchNorm2d``: four buffers and no counter."""

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.rand(channels) * 0.6 + 0.3)
        self.register_buffer("bias", torch.rand(channels) - 0.5)
        self.register_buffer("running_mean", torch.rand(channels) - 0.5)
        self.register_buffer("running_var", torch.rand(channels) + 0.5)

    def forward(self, x):
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


class Block(nn.Module):
    def __init__(self, inplanes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = FrozenBatchNorm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = FrozenBatchNorm(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = FrozenBatchNorm(planes * 4)
        self.downsample = None
        if stride != 1 or inplanes != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, 4 * planes, 1, stride, bias=False), FrozenBatchNorm(4 * planes)
            )

    def forward(self, x):
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


def stage(inplanes, planes, blocks, stride):
    return nn.Sequential(Block(inplanes, planes, stride), *(Block(4 * planes, planes, 1) for _ in range(blocks - 1)))


class Replica(nn.Module):
    """The parts of ``torchvision.models.detection.FasterRCNN`` with weights, in its names; a quarter as wide."""

    def __init__(self, anchors=9, classes=2, old_rpn=False, base=16):
        super().__init__()
        body = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(3, base, 7, 2, 3, bias=False),
                "bn1": FrozenBatchNorm(base),
                "layer1": stage(base, base, 3, 1),
                "layer2": stage(4 * base, 2 * base, 4, 2),
                "layer3": stage(8 * base, 4 * base, 23, 2),
            }
        )
        hidden, wide = 8 * base, 16 * base
        conv = nn.Conv2d(wide, hidden, 3, padding=1)
        self.backbone = nn.ModuleDict({"body": body})
        self.rpn = nn.ModuleDict(
            {
                "head": nn.ModuleDict(
                    {
                        "conv": conv if old_rpn else nn.Sequential(nn.Sequential(conv, nn.ReLU())),
                        "cls_logits": nn.Conv2d(hidden, anchors, 1),
                        "bbox_pred": nn.Conv2d(hidden, 4 * anchors, 1),
                    }
                )
            }
        )
        self.roi_heads = nn.ModuleDict(
            {
                "box_head": nn.ModuleDict({"layer4": stage(wide, 8 * base, 3, 2)}),
                "box_predictor": nn.ModuleDict(
                    {"cls_score": nn.Linear(2 * wide, classes), "bbox_pred": nn.Linear(2 * wide, 4 * classes)}
                ),
            }
        )

    def forward(self, image, rois):
        body, head, predictor = self.backbone["body"], self.rpn["head"], self.roi_heads["box_predictor"]
        x = functional.max_pool2d(functional.relu(body["bn1"](body["conv1"](image))), 3, 2, 1)
        for name in ("layer1", "layer2", "layer3"):
            x = body[name](x)
        hidden = functional.relu(head["conv"](x))
        pooled = self.roi_heads["box_head"]["layer4"](rois).mean(dim=(2, 3))
        outputs = predictor["cls_score"](pooled), predictor["bbox_pred"](pooled)
        return x, head["cls_logits"](hidden).sigmoid(), head["bbox_pred"](hidden), *outputs


@pytest.fixture(scope="module")
def replica():
    torch.manual_seed(0)
    return Replica().eval()


@pytest.mark.parametrize("old_rpn", [False, True])
def test_computes_what_torchvision_computes(replica, old_rpn):
    state = replica.state_dict()
    if old_rpn:
        state = {key.replace("conv.0.0", "conv"): tensor for key, tensor in state.items()}
        assert state.keys() == Replica(old_rpn=True).state_dict().keys()
    ours = FasterRCNN(width=1 / 4).eval()
    ours.load_state_dict(convert(state))
    image, rois = torch.randn(1, 3, 90, 64), torch.randn(3, 256, 7, 7)
    with torch.no_grad():
        expected, got = replica(image, rois), ours(image, rois)
    background, something = got[1].chunk(2, dim=1)
    probability = torch.stack([background, something]).softmax(0)[1]
    for have, want in zip((got[0], probability, *got[2:]), expected, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_a_feature_pyramid_is_refused(replica):
    state = replica.state_dict() | {
        "backbone.fpn.inner_blocks.0.0.weight": torch.zeros(1),
        "roi_heads.box_head.fc6.weight": torch.zeros(1),
    }
    with pytest.raises(ValueError, match=r"feature pyramid and its head \(backbone\.fpn.*fc6.*have no place in a C4"):
        convert(state)


@pytest.mark.parametrize(
    ("key", "gone", "message"),
    [
        ("rpn.head.cls_logits.bias", True, "missing rpn.head.cls_logits.bias, unexpected none"),
        ("backbone.body.layer3.22.bn3.running_var", True, "missing backbone.body.layer3.22.bn3.running_var,"),
        ("backbone.body.layer4.0.conv1.weight", False, "missing none, unexpected backbone.body.layer4.0.conv1.weight;"),
        ("RCNN_rpn.RPN_Conv.weight", False, "unexpected RCNN_rpn.RPN_Conv.weight"),
    ],
)
def test_keys_that_do_not_fit(replica, key, gone, message):
    state = {name: tensor for name, tensor in replica.state_dict().items() if name != key}
    state |= {} if gone else {key: torch.zeros(1)}
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(state)


def test_counts_are_those_worked_out_by_hand():
    with torch.device("meta"):
        network, smaller_anchors = FasterRCNN(), FasterRCNN(anchors=15)
    resnet101 = 44_549_160 - 2049 * 1000  # torchvision's, without its classifier
    rpn = (1024 * 9 + 1) * 512 + 513 * 54
    assert count_parameters(network) == resnet101 + rpn + 2049 * 10 == 47_267_456
    assert count_layers(network) == 104 + 3 + 2 == 109
    assert count_parameters(smaller_anchors) - count_parameters(network) == 513 * 6 * 6


def test_caffes_variant_strides_in_its_first_convolutions():
    network = FasterRCNN(width=1 / 8, caffe=True)
    first = network.trunk_and_proposals.trunk.layer2[0]
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
    assert network.head.layer4[0].conv1.stride == (2, 2)
