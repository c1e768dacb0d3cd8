"""Losses against the papers' formulas, written out in NumPy."""

import numpy as np
import pytest
import torch

from mammofast.errors import TrainingError
from mammofast.training.losses import LossTable, class_weights, make_loss, supervised
from mammofast.training.tables import read_table

N, ROWS, COLS = 3, 7, 5


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def foreground(logits):
    """P(mass) of one logit or of two."""
    return 1 / (1 + np.exp(-logits[:, 0])) if logits.shape[1] == 1 else softmax(logits)[:, 1]


def drawn(classes, seed, ignored=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (N, classes, ROWS, COLS))
    truth = rng.integers(0, max(classes, 2), (N, ROWS, COLS))
    truth[0] = 0  # an image without a mass
    if ignored:
        truth[1, :2] = 255
    return logits, truth


def ours(table, logits, truth, weights=None):
    return float(make_loss(LossTable(**table), weights)(torch.tensor(logits).float(), torch.tensor(truth)))


def cross_entropy(logits, truth, weights=None):
    """P1, eq. 1: -1/N Σ w(y) log p(y)."""
    p = foreground(logits)
    p = softmax(logits) if logits.shape[1] > 1 else np.stack([1 - p, p], axis=1)
    w = np.ones(p.shape[1]) if weights is None else np.array(weights)
    counted = truth != 255
    each = [-w[truth[i]] * np.log(p[(i[0], truth[i], *i[1:])]) for i in zip(*np.nonzero(counted), strict=True)]
    return np.mean(each)


def dice(logits, truth, epsilon):
    """P2, eq. 8, of each image."""
    p, y = foreground(logits), truth == 1
    losses = []
    for k in range(N):
        overlap, size = (p[k] * y[k]).sum(), p[k].sum() + y[k].sum()
        losses.append(1 - (2 * overlap + epsilon) / (size + epsilon))
    return np.mean(losses)


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("weights", [None, [1.02, 51.0]])
@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy(classes, weights, seed):
    logits, truth = drawn(classes, seed)
    assert ours({"name": "cross-entropy"}, logits, truth, weights) == pytest.approx(
        cross_entropy(logits, truth, weights), rel=1e-5
    )


def test_cross_entropy_of_many_classes_without_what_does_not_count():
    logits, truth = drawn(19, 0, ignored=True)
    weights = np.linspace(0.1, 1, 19).tolist()
    assert ours({"name": "cross-entropy"}, logits, truth, weights) == pytest.approx(
        cross_entropy(logits, truth, weights), rel=1e-5
    )
    assert ours({"name": "cross-entropy"}, logits, np.full_like(truth, 255)) == 0


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("epsilon", [1.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_dice(classes, epsilon, seed):
    logits, truth = drawn(classes, seed)
    found = ours({"name": "dice", "epsilon": epsilon}, logits, truth)
    assert found == pytest.approx(dice(logits, truth, epsilon), rel=1e-5)


def test_dice_does_not_see_what_does_not_count():
    logits, truth = drawn(2, 0, ignored=True)
    changed = logits.copy()
    changed[1, :, :2] = 9
    assert ours({"name": "dice"}, logits, truth) == ours({"name": "dice"}, changed, truth)
    assert ours({"name": "dice"}, logits, truth) != ours({"name": "dice"}, -logits, truth)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_both(alpha):
    """P2, eq. 9; with α = 0.5 P5's, which subtracts Dice from half the cross-entropy."""
    logits, truth = drawn(2, 1)
    expected = dice(logits, truth, 1.0) + alpha * cross_entropy(logits, truth)
    assert ours({"name": "dice+cross-entropy", "alpha": alpha}, logits, truth) == pytest.approx(expected, rel=1e-5)


def test_deep_supervision_is_the_mean_over_heads():
    heads = [torch.tensor(drawn(1, seed)[0]).float() for seed in range(4)]
    truth = torch.tensor(drawn(1, 0)[1])
    loss = make_loss(LossTable(name="dice+cross-entropy", alpha=0.5))
    assert float(supervised(loss, heads, truth)) == pytest.approx(np.mean([float(loss(h, truth)) for h in heads]))
    assert float(supervised(loss, heads[0], truth)) == float(loss(heads[0], truth))


def test_weights():
    frequencies = [0.98, 0.02]
    assert class_weights("none", frequencies) is None
    assert class_weights("inverse-frequency", frequencies) == pytest.approx([1 / 0.98, 50])
    assert class_weights("complement", frequencies) == pytest.approx([0.02, 0.98])
    with pytest.raises(TrainingError, match="class 1 has no pixel"):
        class_weights("inverse-frequency", [1.0, 0.0])
    assert class_weights("complement", [1.0, 0.0]) == [0.0, 1.0]


@pytest.mark.parametrize(
    "table, words",
    [
        ({"name": "hinge"}, "name: got 'hinge'"),
        ({"name": "dice", "weights": "complement"}, "weights: are of cross-entropy"),
        ({"name": "cross-entropy", "weights": "heavy"}, "weights: got 'heavy'"),
        ({"name": "dice", "epsilon": 0}, "above 0"),
        ({"name": "dice", "gamma": 2}, "unknown entries"),
        ({}, "lacks"),
    ],
)
def test_tables(table, words):
    with pytest.raises(TrainingError, match=words):
        read_table(LossTable, table, "loss")
