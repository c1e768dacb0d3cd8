"""Learning to find masses: YOLOv3 and its kin, at all sizes that they will be run at (Yan et al. 2020, P4)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mammofast import ops
from mammofast.datasets import Sample
from mammofast.errors import TrainingError
from mammofast.evaluation import average_precision, match_boxes
from mammofast.models import find
from mammofast.models.yolov3 import ANCHORS_PER_HEAD, BOX_CHANNELS, STRIDES, last_convolutions
from mammofast.training.anchors import kmeans_anchors, mean_best_iou
from mammofast.training.calibrate import calibrate
from mammofast.training.recipe import Recipe, Size, Stage
from mammofast.training.tables import read_table
from mammofast.training.tasks.task import Batch, Example, Task
from mammofast.training.two_stage import Subject, method_parameters, stated
from mammofast.training.yolo import XYWH, Targets, YoloLoss

_STATED = ("grey", "contrast", "scales", "strides", "anchors", "confidence_threshold", "nms_iou", "fusion_threshold")
# P4 evaluates, as darknet does, from this confidence on.
_EVALUATED_FROM = 0.005
# Nearly all cells must stay silent, and a new network is: a confidence of 0.002, though it says "mass" if anything.
_SILENT, _MASS = -6.0, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """See :class:`mammofast.training.yolo.YoloLoss`."""

    box: str = XYWH
    box_weight: float = 1.0
    shape_fit: float = 1.0
    ignored_iou: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examples:
    """resize_every: steps after which another size is drawn. weights: how often each of the sizes is, in proportion.
    anchor_sizes: (rows, cols) that the boxes are scaled to when anchors are fitted to them.
    calibrate: whether the objectness is set, once the weights are final, for the fusion of scales.
    """

    resize_every: int = 10
    weights: tuple[float, ...] = ()
    anchor_sizes: tuple[Size, ...] = ((832, 416),)
    calibrate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Augmentation:
    """left_right, top_bottom: how often an image is mirrored. gain, gamma: greys become (g·v)^γ, g and γ at most this
    part from 1, darkest and brightest staying within 0..1.
    """

    left_right: float = 0.0
    top_bottom: float = 0.0
    gain: float = 0.0
    gamma: float = 0.0


class Detection(Task):
    """Boxes of masses in whole images, whose sizes change as the training goes on.

    An example: "boxes" (k, 4), parts of the width and height, and the image at each size, times 255.
    """

    def __init__(self, recipe: Recipe, stage: Stage) -> None:
        super().__init__(recipe, stage)
        self._method = method_parameters(recipe, stage)
        self._sizes: Sequence[Size] = self._method.scales
        self._examples = read_table(_Examples, stage.examples, "examples")
        self._augmentation = read_table(_Augmentation, stage.augmentation, "augmentation")
        self._costs = read_table(_Loss, stage.loss, "loss")
        self._loss = self._with_anchors(self._method.anchors)
        weights = self._examples.weights or (1.0,) * len(self._sizes)
        if len(weights) != len(self._sizes) or not min(weights) >= 0 < sum(weights):
            raise TrainingError(
                f"recipe {recipe.name!r}: examples: weights: got {weights}, expected {len(self._sizes)} of 0 or more, "
                "one for each size"
            )
        self._weights = np.array(weights) / sum(weights)
        self._channels = int(stage.network.options.get("channels", find(stage.network.name).input[0]))

    @property
    def preparation(self) -> Mapping[str, Any]:
        """The grey values and sizes of the inputs."""
        return stated(self._method, ("grey", "contrast", "scales"))

    def prepare(self, sample: Sample) -> list[Example]:
        """Return the image at every size, and its boxes."""
        subject = Subject.of(sample, self._method)
        inputs = zip(map(_key, self._sizes), subject.inputs(self._sizes), strict=True)
        return [{"boxes": subject.parts(), **dict(inputs)}]

    def fit(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Return nine anchors for the boxes, and how well they fit: the mean IoU of each box with its best."""
        boxes = np.concatenate([np.asarray(example["boxes"], np.float64) for example in examples])
        sizes = np.concatenate(
            [(boxes[:, 2:] - boxes[:, :2]) * [cols, rows] for rows, cols in self._examples.anchor_sizes]
        )
        try:
            anchors = kmeans_anchors(sizes, ANCHORS_PER_HEAD * len(STRIDES), self.recipe.seed)
        except ValueError as error:
            raise TrainingError(f"the training images' masses give no anchors: {error}; give more of them") from error
        return {"anchors": anchors.tolist(), "mean_best_iou": mean_best_iou(sizes, anchors)}

    def use(self, fitted: Mapping[str, Any]) -> None:
        """Take the anchors."""
        anchors = tuple((float(width), float(height)) for width, height in fitted["anchors"])
        self._method = replace(self._method, anchors=anchors)
        self._loss = self._with_anchors(anchors)

    def _with_anchors(self, anchors: Sequence[Sequence[float]]) -> YoloLoss:
        costs = {name: getattr(self._costs, name) for name in ("box", "box_weight", "shape_fit", "ignored_iou")}
        return YoloLoss(anchors=tuple((float(w), float(h)) for w, h in anchors), **costs)

    def network(self) -> nn.Module:
        """Return a detector that starts out silent."""
        network = super().network()
        with torch.no_grad():
            for last in last_convolutions(network):
                bias = last.bias.view(ANCHORS_PER_HEAD, -1)
                bias.zero_()
                bias[:, BOX_CHANNELS - 1], bias[:, BOX_CHANNELS] = _SILENT, _MASS
        return network

    def batch(self, examples: Sequence[Example], rng: np.random.Generator | None, step: int) -> Batch:
        """Return images of one size and their boxes; to measure, the middle one of the sizes."""
        size = self._sizes[len(self._sizes) // 2] if rng is None else self._size_at(step)
        images, boxes, whose = [], [], []
        for i, example in enumerate(examples):
            image = np.asarray(example[_key(size)], np.float32) / np.float32(255)
            corners = np.asarray(example["boxes"], np.float32)
            if rng is not None:
                image, corners = self._augmented(image, corners, rng)
            images.append(image)
            boxes.append(corners * np.array([*size[::-1]] * 2, np.float32))
            whose.append(np.full(len(corners), i))
        stacked = np.ascontiguousarray(np.stack(images)[:, None])
        return {
            "images": torch.from_numpy(stacked).expand(-1, self._channels, -1, -1),
            "boxes": torch.from_numpy(np.concatenate(boxes).astype(np.float32)),
            "whose": torch.from_numpy(np.concatenate(whose)),
        }

    def _size_at(self, step: int) -> Size:
        """Return the size of a step; it stays for some, as darknet's does."""
        rng = np.random.default_rng([self.recipe.seed, step // self._examples.resize_every])
        return self._sizes[int(rng.choice(len(self._sizes), p=self._weights))]

    def _augmented(
        self, image: npt.NDArray[np.float32], corners: npt.NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        a = self._augmentation
        for axis, often in ((0, a.left_right), (1, a.top_bottom)):
            if rng.random() < often:
                image = np.flip(image, 1 - axis)
                corners = corners.copy()
                corners[:, [axis, axis + 2]] = 1 - corners[:, [axis + 2, axis]]
        gain, gamma = (np.float32(rng.uniform(1 - part, 1 + part)) for part in (a.gain, a.gamma))
        return np.clip(image * gain, 0, 1) ** gamma, corners

    def loss(self, network: nn.Module, batch: Batch, turn: str) -> Tensor:
        """Return the batch's loss."""
        return self._loss(network(batch["images"]), Targets(batch["boxes"], batch["whose"]))

    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the average precision at IoU 0.5, of one size and before fusion."""
        confidences: list[npt.NDArray[np.float32]] = []
        hits: list[npt.NDArray[np.bool_]] = []
        masses = 0
        for batch in batches:
            outputs = [head.float().cpu().numpy() for head in network(batch["images"])]
            for i in range(len(batch["images"])):
                truth = batch["boxes"][batch["whose"] == i].cpu().numpy()
                boxes, scores = ops.decode_yolo([o[i] for o in outputs], STRIDES, self._method.anchors, _EVALUATED_FROM)
                kept = ops.nms(boxes, scores, self._method.nms_iou)
                confidences.append(scores[kept])
                hits.append(match_boxes(boxes[kept], scores[kept], truth) >= 0)
                masses += len(truth)
        return {
            "average_precision": average_precision(np.concatenate(confidences), np.concatenate(hits), max(masses, 1))
        }

    def finish(self, network: nn.Module, examples: Sequence[Example]) -> dict[str, Any]:
        """Calibrate the objectness, where the recipe asks for it."""
        if self._examples.calibrate:
            cases = [([e[_key(size)] for size in self._sizes], np.asarray(e["boxes"])) for e in examples]
            calibrate(network, cases, self._method, self._channels)
        return {}

    def parameters(self) -> dict[str, Any]:
        """Return the recipe's parameters, and all that the detector was trained and calibrated with."""
        return {**super().parameters(), **stated(self._method, _STATED)}


def _key(size: Size) -> str:
    return "image_{}x{}".format(*size)
