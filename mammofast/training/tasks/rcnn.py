# mypy: disallow-subclassing-any=False
"""Learning to find masses with Faster R-CNN (Ren et al. 2015), as P5 does in slices: proposals and head together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mammofast import ops
from mammofast.datasets import Sample
from mammofast.datasets.images import source_of
from mammofast.evaluation import average_precision, label_boxes, match_boxes
from mammofast.methods.faster_rcnn import Anchors, Settings, detect, propose
from mammofast.methods.scaling import Scaling
from mammofast.models import find
from mammofast.models.faster_rcnn import ROI_SIZE, STRIDE
from mammofast.records import GreyPipeline
from mammofast.training import rcnn
from mammofast.training.recipe import Recipe, Size, Stage
from mammofast.training.roi_align import roi_align
from mammofast.training.tables import read_table
from mammofast.training.tasks.task import Batch, Example, Task

_SETTINGS = ("candidates", "proposals", "proposal_iou", "box_std", "score_threshold", "final_iou", "detections")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """See :class:`mammofast.training.rcnn.Sampling`. candidates, learned_proposals: anchors looked at, and proposals
    sampled from, while training; more than when screening, as the first implementations have it.
    """

    positive_iou: float = 0.7
    negative_iou: float = 0.3
    anchors: int = 256
    anchor_positives: float = 0.5
    proposal_iou: float = 0.5
    proposals: int = 128
    proposal_positives: float = 0.25
    candidates: int = 12000
    learned_proposals: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Augmentation:
    """left_right: how often an image is mirrored."""

    left_right: float = 0.0


class Learning(nn.Module):
    """Faster R-CNN as one call that gives all that is learned from: what is sampled between its parts is its own work.

    ``forward(images, boxes, whose, draws)`` returns the loss of a batch, ``forward(images)`` the trunk's outputs and
    ``forward(rois=...)`` the head's.
    """

    def __init__(self, network: nn.Module, settings: Settings, learning: Settings, sampling: rcnn.Sampling) -> None:
        super().__init__()
        self.network = network
        self._settings, self._learning, self._sampling = settings, learning, sampling

    def forward(
        self, images: Tensor | None = None, boxes: Tensor | None = None, whose: Tensor | None = None,
        draws: Tensor | None = None, rois: Tensor | None = None,
    ) -> Any:  # fmt: skip
        """Return a loss, or outputs. draws: an integer for each image, that the sampling is seeded with."""
        if rois is not None:
            return self.network.head(rois)
        trunk = self.network.trunk_and_proposals(images)
        if images is None or boxes is None or whose is None or draws is None:
            return trunk
        size = (images.shape[2], images.shape[3])
        losses: list[Tensor] = []
        samples: list[_Sampled] = []
        for i, draw in enumerate(draws.tolist()):
            own = boxes[whose == i].double().cpu().numpy()
            rng = np.random.default_rng(draw)
            features, objectness, deltas = (out[i] for out in trunk)
            losses.append(
                rcnn.proposal_loss(objectness, deltas, self._settings.anchors, own, size, self._sampling, rng)
            )
            samples.append(self._sampled(features, objectness, deltas, own, size, rng))
        # All of the batch at once: the rois of one image alone are no sample for a batch normalization.
        logits, shifts = self.network.head(torch.cat([sampled.rois for sampled in samples]))
        counts = [len(sampled.rois) for sampled in samples]
        for own_logits, own_shifts, s in zip(logits.split(counts), shifts.split(counts), samples, strict=True):
            losses.append(
                rcnn.head_loss(own_logits, own_shifts, s.labels, s.places, s.boxes, s.matched, self._settings.box_std)
            )
        return torch.stack(losses).sum() / len(samples)

    def _sampled(
        self,
        features: Tensor,
        objectness: Tensor,
        deltas: Tensor,
        boxes: rcnn.Boxes,
        size: Size,
        rng: np.random.Generator,
    ) -> "_Sampled":
        """Return the proposals of an image that the head learns from."""
        found, shifts = (x.detach().float().cpu().numpy() for x in (objectness, deltas))
        proposals, _ = propose(found, shifts, size, self._learning)
        # The masses themselves are proposals too: at first no other overlaps them.
        places = np.concatenate([proposals.astype(np.float64), boxes])
        labels, matched = rcnn.assign_proposals(places, boxes, self._sampling)
        chosen = rcnn.sample(labels, self._sampling.proposals, self._sampling.proposal_positives, rng)
        where = torch.from_numpy(places[chosen]).to(features.device)
        rois = roi_align(features, where, (ROI_SIZE, ROI_SIZE), 1 / STRIDE)
        return _Sampled(rois, labels[chosen], places[chosen], boxes, matched[chosen])


@dataclass(frozen=True, slots=True)
class _Sampled:
    """rois: (k, c, 7, 7) of the proposals ``places``. labels, matched: see ``rcnn.assign_proposals``."""

    rois: Tensor
    labels: rcnn.Labels
    places: rcnn.Boxes
    boxes: rcnn.Boxes
    matched: rcnn.Labels


class Rcnn(Task):
    """Boxes of masses in images of one size.

    An example: "image", (channels, rows, cols) as it enters the network, and "boxes" (k, 4) in its pixels.
    """

    def __init__(self, recipe: Recipe, stage: Stage) -> None:
        super().__init__(recipe, stage)
        entry = find(stage.network.name)
        given = dict(recipe.bundle.parameters) if recipe.bundle else {}
        anchors: dict[str, Any] = {k: _frozen(v) for k, v in given.get("anchors", {}).items()}
        others: dict[str, Any] = {k: _frozen(given[k]) for k in _SETTINGS if k in given}
        self._settings = Settings(anchors=Anchors(**anchors), **others)
        costs = asdict(read_table(_Loss, stage.loss, "loss"))
        self._learning = replace(
            self._settings, candidates=costs.pop("candidates"), proposals=costs.pop("learned_proposals")
        )
        self._sampling = rcnn.Sampling(**costs)
        self._augmentation = read_table(_Augmentation, stage.augmentation, "augmentation")
        self._size = stage.network.sizes[0] if stage.network.sizes else entry.input[1:]
        self._channels = int(stage.network.options.get("channels", entry.input[0]))

    @property
    def preparation(self) -> Mapping[str, Any]:
        """The input's size and channels."""
        return {"size": list(self._size), "channels": self._channels}

    def prepare(self, sample: Sample) -> list[Example]:
        """Return an image, stretched, its smallest value 0 and its largest 1, and its boxes."""
        source = source_of(sample)
        scaling = Scaling(channels=self._channels)
        pixels, table = source.read(), source.grey_table(GreyPipeline())
        low, high = scaling.contrast.window(pixels, table)
        grey = ops.detection_inputs(pixels, table, low, high, [self._size])[0]
        (rows, cols), (height, width) = self._size, source.shape
        boxes = label_boxes(sample.masses(source.shape)) * np.array([cols / width, rows / height] * 2)
        return [{"image": scaling.rows(grey).astype(np.float16), "boxes": boxes.astype(np.float32)}]

    def network(self) -> nn.Module:
        """Return the network with what it learns by around it."""
        network: nn.Module = super().network()
        if network.anchors != self._settings.anchors.count:
            raise ValueError(
                f"network: has {network.anchors} anchors, the recipe's scales and ratios make "
                f"{self._settings.anchors.count}; give it the option anchors"
            )
        return Learning(network, self._settings, self._learning, self._sampling)

    def batch(self, examples: Sequence[Example], rng: np.random.Generator | None, step: int) -> Batch:
        """Return images and their boxes."""
        images, boxes, whose, draws = [], [], [], []
        for i, example in enumerate(examples):
            image, corners = np.asarray(example["image"], np.float32), np.asarray(example["boxes"], np.float32)
            if rng is not None and rng.random() < self._augmentation.left_right:
                image, corners = np.flip(image, 2), corners.copy()
                corners[:, [0, 2]] = image.shape[2] - corners[:, [2, 0]]
            images.append(image)
            boxes.append(corners)
            whose.append(np.full(len(corners), i))
            draws.append(0 if rng is None else int(rng.integers(2**31)))
        return {
            "images": torch.from_numpy(np.ascontiguousarray(np.stack(images))),
            "boxes": torch.from_numpy(np.concatenate(boxes)),
            "whose": torch.from_numpy(np.concatenate(whose)),
            "draws": torch.tensor(draws),
        }

    def loss(self, network: nn.Module, batch: Batch, turn: str) -> Tensor:
        """Return the batch's loss: of proposals, and of the head."""
        loss: Tensor = network(batch["images"], batch["boxes"], batch["whose"], batch["draws"])
        return loss

    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the average precision at IoU 0.5, of boxes as the method finds them."""

        def part(**given: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
            device = next(network.parameters()).device
            outputs = network(**{name: torch.from_numpy(value).to(device) for name, value in given.items()})
            return [output.float().cpu().numpy() for output in outputs]

        confidences: list[npt.NDArray[np.float32]] = []
        hits: list[npt.NDArray[np.bool_]] = []
        masses = 0
        for batch in batches:
            images = batch["images"].cpu().numpy()
            found = detect(images, lambda x: part(images=x), lambda x: part(rois=x), self._settings)
            for i, (boxes, scores, _) in enumerate(found):
                truth = batch["boxes"][batch["whose"] == i].cpu().numpy()
                confidences.append(scores)
                hits.append(match_boxes(boxes, scores, truth) >= 0)
                masses += len(truth)
        return {
            "average_precision": average_precision(np.concatenate(confidences), np.concatenate(hits), max(masses, 1))
        }

    def exported(self, network: nn.Module) -> nn.Module:
        """Return Faster R-CNN."""
        kept: nn.Module = network.network
        return kept


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
