"""The detector's loss against the decoder that screening uses, and mirrored batches."""

import numpy as np
import pytest
import torch

from mammofast import ops
from mammofast.training.data import Example
from mammofast.training.detection import Targets, _load, complete_iou, detection_loss, train_detector

STRIDES = (8, 16, 32)
ANCHORS = np.array([[12, 20], [18, 30], [25, 38], [30, 50], [40, 60], [50, 76], [60, 96], [80, 120], [105, 170]], float)


def silent(rows=320, cols=160, n=1):
    outputs = [torch.zeros(n, 3, 6, rows // s, cols // s) for s in STRIDES]
    for output in outputs:
        output[:, :, 4] = -12
        output[:, :, 5] = 12
    return outputs


def loss_of(outputs, boxes, image=None):
    targets = Targets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(image or [0] * len(boxes)).long()
    )
    flat = [o.reshape(o.shape[0], 18, *o.shape[3:]) for o in outputs]
    return float(detection_loss(flat, targets, torch.from_numpy(ANCHORS).float()))


def answer(outputs, box, image=0):
    """Set the logits of every anchor that fits ``box`` so that the decoder returns exactly it."""
    x, y, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
    overlap = np.minimum(ANCHORS, [w, h]).prod(axis=1)
    fit = overlap / (ANCHORS.prod(axis=1) + w * h - overlap)
    for k in np.flatnonzero((fit > 0.5) | (fit == fit.max())):
        stride = STRIDES[k // 3]
        cell = outputs[k // 3][image, k % 3, :, int(y / stride), int(x / stride)]
        fx, fy = x / stride % 1, y / stride % 1
        cell[:] = torch.tensor(
            [np.log(fx / (1 - fx)), np.log(fy / (1 - fy)), np.log(w / ANCHORS[k, 0]), np.log(h / ANCHORS[k, 1]), 12, 12]
        )


BOX = [33.0, 101.0, 66.0, 157.0]


def test_the_right_answer_costs_nothing_and_the_decoder_agrees():
    outputs = silent()
    assert loss_of(outputs, [BOX]) > 20
    answer(outputs, BOX)
    assert loss_of(outputs, [BOX]) < 0.05
    heads = [o[0].reshape(18, *o.shape[3:]).numpy() for o in outputs]
    boxes, scores = ops.decode_yolo(heads, STRIDES, [tuple(a) for a in ANCHORS], 0.5)
    assert len(boxes) >= 1
    np.testing.assert_allclose(boxes, [BOX] * len(boxes), atol=1e-3)
    assert scores.min() > 0.99


def test_an_empty_image_wants_silence():
    outputs = silent()
    assert loss_of(outputs, []) < 0.05
    answer(outputs, BOX)
    assert loss_of(outputs, []) > 10


def test_a_good_box_by_another_anchor_is_not_punished_and_a_bad_one_is():
    outputs = silent()
    answer(outputs, BOX)
    right = loss_of(outputs, [BOX])
    # The neighbouring cell says the same box: its overlap is what spares it.
    stride = 16
    cell = outputs[1][0, 0, :, int(129 / stride), int(49.5 / stride) - 1]
    cell[:] = torch.tensor([6.0, 0.0, np.log(33 / 30), np.log(56 / 50), 12.0, 12.0])
    assert loss_of(outputs, [BOX]) == pytest.approx(right, abs=0.01)
    cell[2:4] = -2.0
    assert loss_of(outputs, [BOX]) > right + 5


def test_boxes_count_for_their_own_image_only():
    outputs = silent(n=2)
    answer(outputs, BOX)
    assert loss_of(outputs, [BOX], [0]) < 0.05
    assert loss_of(outputs, [BOX], [1]) > 10
    # The second image says the box too, but it is not there: nothing spares it.
    answer(outputs, BOX, image=1)
    assert loss_of(outputs, [BOX, BOX], [0, 1]) < 0.05
    assert loss_of(outputs, [BOX], [0]) > 5


def test_complete_iou_against_its_definition():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (200, 2, 2))
    corners = np.concatenate([low, low + rng.uniform(1, 60, (200, 2, 2))], axis=2)
    got = complete_iou(*(torch.from_numpy(corners[:, i]).double() for i in range(2))).numpy()
    for (a, b), value in zip(corners, got, strict=True):
        overlap = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
        sizes = [(c[2] - c[0], c[3] - c[1]) for c in (a, b)]
        iou = overlap / (sum(w * h for w, h in sizes) - overlap)
        gap = np.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2
        diagonal = np.hypot(max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1]))
        v = 4 / np.pi**2 * (np.arctan(sizes[0][0] / sizes[0][1]) - np.arctan(sizes[1][0] / sizes[1][1])) ** 2
        assert value == pytest.approx(iou - gap**2 / diagonal**2 - v * v / (1 - iou + v), abs=1e-6)


def spot_example(rng):
    """An image whose only bright block is where its box says."""
    x, y = rng.integers(0, 100), rng.integers(0, 240)
    image = np.zeros((320, 160), np.uint8)
    image[y : y + 56, x : x + 34] = 200
    box = np.array([[x / 160, y / 320, (x + 34) / 160, (y + 56) / 320]], np.float32)
    return Example((image,), box, np.zeros((0, 8, 8), np.uint8), np.zeros((0, 8, 8), np.uint8))


def test_boxes_follow_mirrored_images():
    rng = np.random.default_rng(3)
    images, targets = _load([spot_example(rng) for _ in range(96)], 0, rng)
    assert images.shape == (96, 1, 320, 160)
    places = set()
    for image, box in zip(images[:, 0].numpy(), targets.boxes.numpy(), strict=True):
        rows, cols = np.nonzero(image > 0.3)
        np.testing.assert_allclose(box, [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], atol=1e-2)
        places.add((box[0] < 80, box[1] < 160))
    assert len(places) == 4


def test_training_learns_and_is_seeded():
    from mammofast.models.compact_yolo import CompactYolo

    def run():
        rng = np.random.default_rng(0)
        examples = [spot_example(rng) for _ in range(8)]
        torch.manual_seed(0)
        losses = []
        network = CompactYolo((8, 8, 16, 16, 16), (0, 0, 0, 0, 0))
        train_detector(
            network,
            examples,
            ANCHORS,
            seed=0,
            steps=25,
            batch=4,
            peak=0.05,
            report=lambda step, loss: losses.append(loss),
        )
        return losses

    first = run()
    assert len(first) == 25
    assert np.mean(first[-4:]) < 0.75 * np.mean(first[:4])
    assert first == run()
