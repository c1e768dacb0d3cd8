"""Training the segmenter on crops around masses: Dice loss (the paper's) beside cross-entropy, deep supervision."""

import time

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.training.schedule import NO_LIMIT, Average, Report, rate


def segmentation_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - soft Dice, a mean over crops, plus cross-entropy; both (n, 1, rows, cols)."""
    logits = logits.float()
    probability = torch.sigmoid(logits)
    overlap = (probability * truth).sum(dim=(1, 2, 3))
    size = probability.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    dice = (2 * overlap + 1) / (size + 1)
    return (1 - dice).mean() + functional.binary_cross_entropy_with_logits(logits, truth)


def train_segmenter(
    network: nn.Module,
    crops: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    *,
    seed: int,
    steps: int = NO_LIMIT,
    batch: int = 12,
    peak: float = 2e-3,
    deadline: float = float("inf"),
    report: Report | None = None,
) -> nn.Module:
    """Train in place and return the running average of the weights; see :func:`train_detector`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 8])
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=1e-3)
    average = Average(network)
    begun = time.monotonic()
    network.train().to(memory_format=torch.channels_last)
    for step in range(steps):
        done = max(step / steps, (time.monotonic() - begun) / (deadline - begun))
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = peak * rate(done, step)
        images, truth = _load(crops, masks, rng.integers(len(crops), size=batch), rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = network(images.contiguous(memory_format=torch.channels_last))
        loss = torch.stack([segmentation_loss(logits, truth) for logits in outputs]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average.update(network, step)
        if report is not None:
            report(step, float(loss.detach()))
    return average.network


def _load(
    crops: npt.NDArray[np.uint8], masks: npt.NDArray[np.uint8], chosen: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Stack crops and truth, each turned and mirrored at random."""
    images: list[npt.NDArray[np.uint8]] = []
    truth: list[npt.NDArray[np.uint8]] = []
    for i in chosen:
        turn, mirror = int(rng.integers(4)), rng.random() < 0.5
        for source, out in ((crops, images), (masks, truth)):
            value = np.rot90(source[i], turn)
            out.append(value[:, ::-1] if mirror else value)
    return (
        torch.from_numpy(np.stack(images)[:, None].astype(np.float32) / 255),
        torch.from_numpy(np.stack(truth)[:, None].astype(np.float32)),
    )
