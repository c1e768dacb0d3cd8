"""torchvision's Faster R-CNN, as its parts make a ResNet-101 C4.

torchvision's own builders make feature pyramids with two fully connected layers as a head, and those have no place in a
C4 network: they are refused. What fits is ``torchvision.models.detection.FasterRCNN`` with ResNet-101's ``conv1`` to
``layer3`` as the backbone's ``body`` (``IntermediateLayerGetter``), a box head that has its ``layer4``, and the RPN and
``FastRCNNPredictor`` of torchvision. Run it with ``Anchors(offset=0.0, rounded=True)`` of
``mammofast.methods.faster_rcnn``. Weights of jwyang/faster-rcnn.pytorch need another RoI Align and are not read.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mammofast.models.faster_rcnn import FasterRCNN
from mammofast.models.layouts.keys import COUNTER, some

_OBJECTNESS = "trunk_and_proposals.objectness."
_MODULES = {
    "trunk_and_proposals.trunk.": "backbone.body.",
    "trunk_and_proposals.conv.": "rpn.head.conv.0.0.",
    _OBJECTNESS: "rpn.head.cls_logits.",
    "trunk_and_proposals.deltas.": "rpn.head.bbox_pred.",
    "head.layer4.": "roi_heads.box_head.layer4.",
    "head.classes.": "roi_heads.box_predictor.cls_score.",
    "head.deltas.": "roi_heads.box_predictor.bbox_pred.",
}
_OLD_CONV, _CONV = "rpn.head.conv.", "rpn.head.conv.0.0."  # torchvision up to 0.12, and since
_PYRAMID = ("backbone.fpn.", "roi_heads.box_head.fc")


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict for ``FasterRCNN`` of as many classes and anchors as torchvision's has.

    torchvision has one logit for an anchor to be something, where ours has one for background too: a logit of 0 there
    makes the softmax over both its sigmoid.

    Raises
    ------
    ValueError
        When a key is missing or unknown, or the state dict is one of a feature pyramid.

    """
    if pyramid := [key for key in state if key.startswith(_PYRAMID)]:
        raise ValueError(
            f"keys of a feature pyramid and its head ({some(pyramid)}) have no place in a C4 network: give a Faster "
            "R-CNN whose backbone ends at ResNet-101's layer3 and whose box head is its layer4"
        )
    if f"{_OLD_CONV}weight" in state:
        old = {f"{_OLD_CONV}{tensor}": f"{_CONV}{tensor}" for tensor in ("weight", "bias")}
        state = {old.get(key, key): tensor for key, tensor in state.items()}
    theirs = _keys()
    used = set(theirs.values())
    # Frozen batch normalization keeps no counter.
    missing = [key for key in theirs.values() if key not in state and not key.endswith(COUNTER)]
    unexpected = [key for key in state if key not in used]
    if missing or unexpected:
        raise ValueError(
            f"not torchvision's Faster R-CNN on ResNet-101 C4: missing {some(missing)}, unexpected "
            f"{some(unexpected)}; give the model's state dict itself, without a wrapper's prefix"
        )
    found = {ours: state[key] if key in state else torch.tensor(0) for ours, key in theirs.items()}
    for tensor in ("weight", "bias"):
        something = found[_OBJECTNESS + tensor]
        found[_OBJECTNESS + tensor] = torch.cat([torch.zeros_like(something), something])
    return found


def _keys() -> dict[str, str]:
    """Return torchvision's key for each of ours."""
    with torch.device("meta"):
        ours = list(FasterRCNN().state_dict())
    return {
        key: theirs + key.removeprefix(module)
        for key in ours
        for module, theirs in _MODULES.items()
        if key.startswith(module)
    }
