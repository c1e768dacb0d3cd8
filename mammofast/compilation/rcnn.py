"""Faster R-CNN as two engines, cut at RoI Align: what stands between them is arithmetic on boxes and an op of ours.

TensorRT for RTX reads RoI Align only where there is a card, and proposals are lists of no fixed length: neither is a
network's work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from mammofast import ops
from mammofast.compilation import samples
from mammofast.compilation.networks import Weights, created
from mammofast.compilation.random_weights import settle
from mammofast.compilation.sources import Size, Source, from_module, torch_file
from mammofast.errors import EngineError
from mammofast.methods.faster_rcnn import Settings
from mammofast.models import find
from mammofast.models.faster_rcnn import ROI_SIZE, STRIDE

TRUNK, HEAD = "trunk", "head"
TRUNK_OUTPUTS = ("features", "objectness", "deltas")
HEAD_OUTPUTS = ("classes", "deltas")
# Boxes whose features the head is compared on, as parts of an image's sides: large, small, and past an edge.
_BOXES = ((0.1, 0.1, 0.9, 0.9), (0.4, 0.3, 0.5, 0.4), (-0.2, 0.5, 0.3, 1.1))


def from_rcnn(
    name: str, weights: Weights, *, options: Mapping[str, Any] | None = None, sizes: Sequence[Size] = ()
) -> dict[str, Source]:
    """Build a Faster R-CNN of the catalogue, give it its weights and export its two parts.

    "trunk" takes "image" (n, channels, rows, cols) of any size and gives "features", "objectness" and "deltas"; "head"
    takes "rois", features of proposals (k, c, 7, 7), and gives "classes" and "deltas". Features are those after the
    head's first convolutions, see :mod:`mammofast.models.faster_rcnn`; for parameters see
    :func:`mammofast.compilation.sources.from_catalogue`.

    Raises
    ------
    ModelError, EngineError
        As ``from_catalogue``.

    """
    entry = find(name)
    options = dict(options or {})
    channels = int(options.get("channels", entry.input[0]))
    sizes = tuple(sizes) or (entry.input[1:],)
    if min(min(size) for size in sizes) < 2 * STRIDE:
        raise EngineError(f"size: got {min(sizes)}, {name} takes {2 * STRIDE} and more")
    network = created(name, weights, options)
    image = torch.from_numpy(samples.real(channels, min(sizes)))
    if weights.file is None:
        settle(network.trunk_and_proposals, image)
        settle(network.head, torch.from_numpy(_rois(network.trunk_and_proposals, image)))
    parts: dict[str, nn.Module] = {TRUNK: network.before_rois, HEAD: network.after_rois}
    rois = _rois(parts[TRUNK], image)
    trunk = from_module(f"{name}-{TRUNK}", parts[TRUNK], "image", channels, sizes, TRUNK_OUTPUTS, False, free_size=True)
    roi_size = ((ROI_SIZE, ROI_SIZE),)
    head = from_module(f"{name}-{HEAD}", parts[HEAD], "rois", rois.shape[1], roi_size, HEAD_OUTPUTS, False)
    noise = np.float32(rois.std()) * samples.noise(rois.shape[1], roi_size[0])
    head = replace(head, examples=(rois, noise), largest_batch=Settings().proposals)
    built_with = {**entry.options, **options}
    return {
        key: replace(source, torch_file=torch_file(source, name, built_with, parts[key], part=attribute))
        for key, source, attribute in ((TRUNK, trunk, "before_rois"), (HEAD, head, "after_rois"))
    }


def _rois(trunk: nn.Module, image: torch.Tensor) -> samples.Array:
    rows, cols = image.shape[2:]
    boxes = (np.array(_BOXES) * [cols, rows, cols, rows]).astype(np.float32)
    with torch.no_grad():
        features = trunk(image)[0].numpy()
    index = np.zeros(len(boxes), np.int64)
    found: samples.Array = ops.roi_align(features, boxes, index, (ROI_SIZE, ROI_SIZE), 1 / STRIDE, 2)
    return found
