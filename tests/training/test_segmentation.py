"""The segmenter's loss and training."""

import numpy as np
import pytest
import torch

from mammofast.models.compact_nested_unet import CompactNestedUNet
from mammofast.training.segmentation import _load, segmentation_loss, train_segmenter


def test_loss_is_dice_and_cross_entropy():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(3, 1, 9, 7)), (rng.random((3, 1, 9, 7)) < 0.4).astype(float)
    p = 1 / (1 + np.exp(-logits))
    dice = [(2 * (p[i] * truth[i]).sum() + 1) / (p[i].sum() + truth[i].sum() + 1) for i in range(3)]
    entropy = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
    got = float(segmentation_loss(torch.from_numpy(logits), torch.from_numpy(truth)))
    assert got == pytest.approx(1 - np.mean(dice) + entropy, rel=1e-5)
    sure = torch.from_numpy(40 * truth - 20)
    assert float(segmentation_loss(sure, torch.from_numpy(truth))) < 1e-4


def discs(n):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    masks = np.stack([np.hypot(y - a, x - b) < r for a, b, r in rng.uniform(8, 16, (n, 3))]).astype(np.uint8)
    return masks * 150 + rng.integers(0, 60, masks.shape).astype(np.uint8), masks


def test_truth_turns_with_its_crop():
    crops, masks = discs(6)
    images, truth = _load(crops, masks, np.arange(6), np.random.default_rng(1))
    np.testing.assert_array_equal(images.numpy() * 255 > 100, truth.numpy() > 0)
    assert not np.array_equal(truth[:, 0].numpy(), masks)


def test_training_learns_and_is_seeded():
    def run():
        losses = []
        torch.manual_seed(0)
        network = CompactNestedUNet((8, 8, 8))
        crops, masks = discs(12)
        train_segmenter(
            network, crops, masks, seed=0, steps=20, batch=4, peak=0.05, report=lambda step, loss: losses.append(loss)
        )
        return losses

    first = run()
    assert np.mean(first[-3:]) < 0.9 * np.mean(first[:3])
    assert first == run()
