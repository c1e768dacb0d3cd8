"""Faster R-CNN's targets against the paper's rules, one anchor at a time; its losses against their formulas."""

import numpy as np
import pytest
import torch

from mammofast.methods.faster_rcnn import Anchors, decode
from mammofast.training.rcnn import (
    NEGATIVE,
    NEITHER,
    POSITIVE,
    Sampling,
    assign_anchors,
    assign_proposals,
    head_loss,
    overlaps,
    proposal_loss,
    sample,
)

SMALL = Anchors(scales=(1.0, 2.0, 4.0), ratios=(0.5, 1.0, 2.0))


def iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union else 0.0


def by_the_paper(anchors, boxes, shape, high, low):
    """Ren et al. 3.1.2: positive from ``high`` or highest of a box, negative below ``low``, crossing ones ignored."""
    labels = []
    inside = [a[0] >= 0 and a[1] >= 0 and a[2] <= shape[1] and a[3] <= shape[0] for a in anchors]
    highest = [max((iou(a, b) for a, here in zip(anchors, inside, strict=True) if here), default=0) for b in boxes]
    for anchor, here in zip(anchors, inside, strict=True):
        found = [iou(anchor, b) for b in boxes]
        if not here:
            labels.append(NEITHER)
        elif any(f >= high or (f == h > 0) for f, h in zip(found, highest, strict=True)):
            labels.append(POSITIVE)
        else:
            labels.append(NEGATIVE if max(found, default=0) < low else NEITHER)
    return labels


def boxes_of(rng, count, shape):
    low = rng.uniform(0, 0.8, (count, 2)) * shape[::-1]
    return np.concatenate([low, np.minimum(low + rng.uniform(8, 80, (count, 2)), shape[::-1])], axis=1)


@pytest.mark.parametrize("seed", range(8))
def test_anchors_are_assigned_by_the_papers_rules(seed):
    rng = np.random.default_rng(seed)
    shape = (112, 144)
    anchors, boxes = SMALL.at(7, 9), boxes_of(rng, seed % 4, shape)
    labels, matched = assign_anchors(anchors, boxes, shape, Sampling())
    assert labels.tolist() == by_the_paper(anchors, boxes, shape, 0.7, 0.3)
    if len(boxes):
        assert (labels == POSITIVE).sum() >= 1
        for k in np.flatnonzero(labels == POSITIVE):
            mine = iou(anchors[k], boxes[matched[k]])
            # A box it overlaps most, or one that nothing overlaps better.
            best_of_box = max(iou(a, boxes[matched[k]]) for a, on in zip(anchors, labels != NEITHER, strict=True) if on)
            assert mine >= max(iou(anchors[k], b) for b in boxes) - 1e-12 or mine == best_of_box


def test_overlaps_are_counted_pixels():
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.integers(0, 20, (30, 2, 2)), axis=1).reshape(30, 4).astype(float)
    got = overlaps(boxes, boxes)
    for i, j in np.ndindex(got.shape):
        canvas = np.zeros((2, 20, 20), bool)
        for mine, (x_min, y_min, x_max, y_max) in zip(canvas, boxes[[i, j]].astype(int), strict=True):
            mine[y_min:y_max, x_min:x_max] = True
        union = canvas.any(axis=0).sum()
        assert got[i, j] == pytest.approx(canvas.all(axis=0).sum() / union if union else 0)


def test_proposals_are_masses_from_one_half_on():
    boxes = np.array([[0.0, 0, 10, 10]])
    proposals = np.array([[0.0, 0, 10, 5], [0, 0, 10, 4.99], [50, 50, 60, 60], [0, 0, 10, 10]])
    labels, matched = assign_proposals(proposals, boxes, Sampling())
    assert labels.tolist() == [POSITIVE, NEGATIVE, NEGATIVE, POSITIVE]
    assert matched.tolist() == [0, 0, 0, 0]
    assert assign_proposals(proposals, np.zeros((0, 4)), Sampling())[0].tolist() == [NEGATIVE] * 4


@pytest.mark.parametrize(
    "positives, negatives, expected",
    [(200, 1000, (128, 128)), (10, 1000, (10, 246)), (200, 20, (128, 20)), (0, 9, (0, 9))],
)
def test_background_takes_the_room_that_masses_leave(positives, negatives, expected):
    labels = np.array([POSITIVE] * positives + [NEGATIVE] * negatives + [NEITHER] * 50)
    np.random.default_rng(1).shuffle(labels)
    chosen = sample(labels, 256, 0.5, np.random.default_rng(2))
    assert len(set(chosen.tolist())) == len(chosen)
    assert ((labels[chosen] == POSITIVE).sum(), (labels[chosen] == NEGATIVE).sum()) == expected
    np.testing.assert_array_equal(chosen, sample(labels, 256, 0.5, np.random.default_rng(2)))


def smooth_l1(x, beta):
    return np.where(np.abs(x) < beta, x * x / (2 * beta), np.abs(x) - beta / 2)


def test_proposal_loss_is_its_formula():
    rng = np.random.default_rng(0)
    rows, cols, shape = 6, 8, (96, 128)
    boxes = boxes_of(rng, 2, shape)
    objectness = rng.normal(size=(18, rows, cols)).astype(np.float32)
    deltas = rng.normal(size=(36, rows, cols)).astype(np.float32)
    tensors = torch.from_numpy(objectness), torch.from_numpy(deltas)
    got = float(proposal_loss(*tensors, SMALL, boxes, shape, Sampling(), np.random.default_rng(5)))

    anchors = SMALL.at(rows, cols)
    labels, matched = assign_anchors(anchors, boxes, shape, Sampling())
    chosen = sample(labels, 256, 0.5, np.random.default_rng(5))
    entropy = growth = 0.0
    for k in chosen:
        row, col, a = k // 9 // cols, k // 9 % cols, k % 9
        background, something = float(objectness[a, row, col]), float(objectness[9 + a, row, col])
        right = something if labels[k] == POSITIVE else background
        entropy += np.log(np.exp(background) + np.exp(something)) - right
        if labels[k] == POSITIVE:
            anchor, box = anchors[k], boxes[matched[k]]
            size, wanted = anchor[2:] - anchor[:2], box[2:] - box[:2]
            shift = (box[:2] + box[2:] - anchor[:2] - anchor[2:]) / 2 / size
            t = np.concatenate([shift, np.log(wanted / size)])
            growth += smooth_l1(deltas[4 * a : 4 * a + 4, row, col] - t, 1 / 9).sum()
    assert growth > 0
    assert got == pytest.approx((entropy + growth) / len(chosen), rel=1e-5)


def test_the_right_answer_costs_nothing_and_decodes_to_the_boxes():
    boxes = np.array([[20.0, 30, 60, 70]])
    proposals = np.array([[16.0, 28, 66, 64], [80, 80, 100, 100]])
    labels, matched = assign_proposals(proposals, boxes, Sampling())
    std = (0.1, 0.1, 0.2, 0.2)
    deltas = torch.zeros(2, 8, requires_grad=True)
    logits = torch.tensor([[-9.0, 9.0], [9.0, -9.0]])
    optimizer = torch.optim.LBFGS([deltas], max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = head_loss(logits, deltas, labels, proposals, boxes, matched, std)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float(closure().detach()) < 1e-6
    # What was learned for the class is what screening turns back into the box; background's columns are untouched.
    np.testing.assert_allclose(decode(proposals[:1], deltas.detach().numpy()[:1, 4:], std), boxes, atol=1e-2)
    assert not deltas.detach().numpy()[:, :4].any()
    assert not deltas.detach().numpy()[1].any()


def test_an_image_without_masses_wants_background():
    objectness = torch.zeros(18, 6, 8)
    objectness[:9] = 9
    deltas = torch.randn(36, 6, 8)
    nothing = np.zeros((0, 4))
    quiet = proposal_loss(objectness, deltas, SMALL, nothing, (96, 128), Sampling(), np.random.default_rng(0))
    loud = proposal_loss(-objectness, deltas, SMALL, nothing, (96, 128), Sampling(), np.random.default_rng(0))
    assert float(quiet) < 1e-3 < 5 < float(loud)
