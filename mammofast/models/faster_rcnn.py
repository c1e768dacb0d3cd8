# mypy: disallow-subclassing-any=False
"""Faster R-CNN on ResNet's fourth convolutional stage, "C4" (Ren et al. 2015, arXiv 1506.01497; He et al. 2015).

Two networks with plain array work between them, which ``mammofast.methods.faster_rcnn`` does: the trunk finds features
and proposals, RoI Align cuts 7×7 features out for each proposal, the head says what they are. So each of the two
compiles by itself, and neither needs a plugin for RoI Align.

What is compiled is cut a layer later than what is trained (``before_rois``, ``after_rois``). The head begins with two
1×1 convolutions side by side, a bottleneck's first and its shortcut's. These mix channels, RoI Align mixes places, both
are linear and neither adds a constant: whichever comes first, the result is the same, for every box, also where samples
beyond the border count as nothing. Before RoI Align they run on each place of the features once, after it on 49 and 16
places of every proposal, where they are 23 % of the head.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.blocks import scaled
from mammofast.models.resnet import Bottleneck, ResNet

STRIDE = 16  # pixels of the image for each one of the features
ROI_SIZE = 7  # rows and columns of features that the head takes
_RPN_WIDTH = 512


class TrunkAndProposals(nn.Module):
    """ResNet up to ``layer3``, and the region proposal network on it.

    Input (n, channels, rows, cols). Output, at ``ceil(size / 16)``:

    - features (n, c, h, w), c = 1024 at full width;
    - objectness (n, 2A, h, w): logits of A anchors to be background, then of A anchors to be something;
    - deltas (n, 4A, h, w): dx, dy, dw, dh of each anchor.
    """

    def __init__(self, trunk: ResNet, anchors: int, hidden: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.conv = nn.Conv2d(trunk.widths[2], hidden, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.objectness = nn.Conv2d(hidden, 2 * anchors, 1)
        self.deltas = nn.Conv2d(hidden, 4 * anchors, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, objectness and deltas."""
        x = self.trunk.stem(image)
        for stage in (self.trunk.layer1, self.trunk.layer2, self.trunk.layer3):
            x = stage(x)
        hidden = self.relu(self.conv(x))
        return x, self.objectness(hidden), self.deltas(hidden)


class Head(nn.Module):
    """ResNet's ``layer4`` on the features of each proposal, their mean, and two fully connected layers.

    Input (k, c, 7, 7). Output: class logits (k, classes), background first; deltas (k, 4·classes), dx, dy, dw, dh of
    each class.
    """

    def __init__(self, layer4: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.layer4 = layer4
        self.classes = nn.Linear(features, classes)
        self.deltas = nn.Linear(features, 4 * classes)
        for layer, std in ((self.classes, 0.01), (self.deltas, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and deltas."""
        return self.decide(self.layer4(rois))

    def decide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and deltas from what ``layer4`` gave."""
        features = x.mean(dim=(2, 3))
        return self.classes(features), self.deltas(features)


class TrunkAndFirst(nn.Module):
    """The trunk with the head's first 1×1 convolutions on its features: those are now what these two give, in a row.

    Features (n, 512 + 2048, h, w) at full width; the rest as of :class:`TrunkAndProposals`.
    """

    def __init__(self, trunk_and_proposals: TrunkAndProposals, first: Bottleneck) -> None:
        super().__init__()
        self.trunk_and_proposals = trunk_and_proposals
        self.conv1, self.shortcut = first.conv1, cast(nn.Sequential, first.downsample)[0]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, objectness and deltas."""
        x, objectness, deltas = self.trunk_and_proposals(image)
        # Without their strides, which are steps between the bins of a proposal.
        return functional.conv2d(x, torch.cat([self.conv1.weight, self.shortcut.weight])), objectness, deltas


class HeadAfterFirst(nn.Module):
    """The head without its first 1×1 convolutions. Input (k, 512 + 2048, 7, 7) at full width; output as of ``Head``."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and deltas."""
        first = cast(Bottleneck, self.head.layer4[0])
        conv1, (shortcut, norm) = first.conv1, cast(nn.Sequential, first.downsample)
        body = rois[:, : conv1.out_channels, :: conv1.stride[0], :: conv1.stride[1]]
        aside = rois[:, conv1.out_channels :, :: shortcut.stride[0], :: shortcut.stride[1]]
        x = first.relu(first.after_conv1(body) + norm(aside))
        return self.head.decide(self.head.layer4[1:](x))


class FasterRCNN(nn.Module):
    """Faster R-CNN C4: ``trunk_and_proposals`` and ``head``, sharing a ResNet cut in two.

    Parameters
    ----------
    channels
        Input channels.
    classes
        Background included.
    anchors
        Anchors at each place: scales times aspect ratios.
    depth
        Of the ResNet: 18, 34, 50 or 101 (P5).
    width
        Multiplies every hidden channel count (ResNet's stem is at least 8).
    caffe
        As in Caffe's ResNet: stride in a bottleneck's first convolution, pooling rounded up. For weights that descend
        from it; their RoI Align, of 8×8 points averaged in twos, is another one and not built here.
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        anchors: int = 9,
        depth: int = 101,
        width: float = 1.0,
        caffe: bool = False,
    ) -> None:
        super().__init__()
        trunk = ResNet(depth, channels, width, caffe=caffe)
        layer4 = trunk.layer4
        del trunk.layer4
        self.trunk_and_proposals = TrunkAndProposals(trunk, anchors, scaled(_RPN_WIDTH, width))
        self.head = Head(layer4, trunk.widths[3], classes)
        self.anchors = anchors

    @property
    def before_rois(self) -> TrunkAndProposals | TrunkAndFirst:
        """What runs before RoI Align, for inference; of the same weights."""
        first = self._movable
        return self.trunk_and_proposals if first is None else TrunkAndFirst(self.trunk_and_proposals, first)

    @property
    def after_rois(self) -> Head | HeadAfterFirst:
        """What runs after RoI Align on the features of ``before_rois``, for inference; of the same weights."""
        return self.head if self._movable is None else HeadAfterFirst(self.head)

    @property
    def _movable(self) -> Bottleneck | None:
        """The block whose first convolutions commute with RoI Align; a basic block's are 3×3, which do not."""
        first = cast(nn.Sequential, self.head.layer4)[0]
        return first if isinstance(first, Bottleneck) else None

    def forward(self, image: Tensor, rois: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the trunk's features, objectness and deltas; with features of proposals, the head's outputs too."""
        found: tuple[Tensor, ...] = self.trunk_and_proposals(image)
        return found if rois is None else (*found, *self.head(rois))
