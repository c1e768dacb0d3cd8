"""YOLOv3's loss against the decoder that screening uses and against darknet's formulas, one cell at a time."""

import numpy as np
import pytest
import torch

from mammofast import ops
from mammofast.training.yolo import COMPLETE_IOU, Targets, YoloLoss, assign, complete_iou, decode

STRIDES = (8, 16, 32)
ANCHORS = ((12, 20), (18, 30), (25, 38), (30, 50), (40, 60), (50, 76), (60, 96), (80, 120), (105, 170))
PAPER = YoloLoss(ANCHORS)
WHOLE = YoloLoss(ANCHORS, box=COMPLETE_IOU, box_weight=4.0, shape_fit=0.5)
BOX = [33.0, 101.0, 66.0, 157.0]


def silent(rows=320, cols=160, n=1):
    outputs = [torch.zeros(n, 3, 6, rows // s, cols // s) for s in STRIDES]
    for output in outputs:
        output[:, :, 4] = -12
        output[:, :, 5] = 12
    return outputs


def targets_of(boxes, image=None):
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(corners, torch.tensor(image or [0] * len(boxes)).long())


def loss_of(loss, outputs, boxes, image=None):
    return float(loss([o.reshape(o.shape[0], 18, *o.shape[3:]) for o in outputs], targets_of(boxes, image)))


def fit_of(box):
    w, h = box[2] - box[0], box[3] - box[1]
    overlaps = [min(w, a) * min(h, b) for a, b in ANCHORS]
    return np.array([o / (a * b + w * h - o) for o, (a, b) in zip(overlaps, ANCHORS, strict=True)])


def answer(outputs, box, least_fit, image=0):
    """Set the logits of every anchor that answers for ``box`` so that the decoder returns exactly it."""
    x, y, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
    fit = fit_of(box)
    for k in np.flatnonzero((fit > least_fit) | (fit == fit.max())):
        stride = STRIDES[k // 3]
        cell = outputs[k // 3][image, k % 3, :, int(y / stride), int(x / stride)]
        fx, fy = x / stride % 1, y / stride % 1
        size = np.log([w / ANCHORS[k][0], h / ANCHORS[k][1]])
        cell[:] = torch.tensor([np.log(fx / (1 - fx)), np.log(fy / (1 - fy)), *size, 12, 12])


# Cross-entropy of a place within its cell is not 0 at the right answer but the place's own entropy.
FLOORS = [(PAPER, 1.0, 2.0), (WHOLE, 0.5, 0.05)]


@pytest.mark.parametrize("loss, least_fit, floor", FLOORS)
def test_the_right_answer_costs_least_and_the_decoder_agrees(loss, least_fit, floor):
    outputs = silent()
    assert loss_of(loss, outputs, [BOX]) > 10
    answer(outputs, BOX, least_fit)
    right = loss_of(loss, outputs, [BOX])
    assert right < floor
    heads = [o[0].reshape(18, *o.shape[3:]).numpy() for o in outputs]
    boxes, scores = ops.decode_yolo(heads, STRIDES, ANCHORS, 0.5)
    assert len(boxes) >= 1
    np.testing.assert_allclose(boxes, [BOX] * len(boxes), atol=1e-3)
    assert scores.min() > 0.99
    for head, channel in np.ndindex(3, 4):
        for move in (-0.3, 0.3):
            moved = [o.clone() for o in outputs]
            moved[head][:, :, channel] += move
            assert loss_of(loss, moved, [BOX]) >= right - 1e-3


@pytest.mark.parametrize("loss, least_fit, floor", FLOORS)
def test_an_empty_image_wants_silence(loss, least_fit, floor):
    outputs = silent()
    assert loss_of(loss, outputs, []) < 0.05
    answer(outputs, BOX, least_fit)
    assert loss_of(loss, outputs, []) > 10


@pytest.mark.parametrize("loss", [PAPER, WHOLE])
def test_a_good_box_by_another_anchor_is_not_punished_and_a_bad_one_is(loss):
    outputs = silent()
    answer(outputs, BOX, loss.shape_fit)
    right = loss_of(loss, outputs, [BOX])
    # The neighbouring cell says the same box: its overlap is what spares it.
    cell = outputs[1][0, 0, :, int(129 / 16), int(49.5 / 16) - 1]
    cell[:] = torch.tensor([6.0, 0.0, np.log(33 / 30), np.log(56 / 50), 12.0, 12.0])
    assert loss_of(loss, outputs, [BOX]) == pytest.approx(right, abs=0.01)
    cell[2:4] = -2.0
    assert loss_of(loss, outputs, [BOX]) > right + 5


@pytest.mark.parametrize("loss, least_fit, floor", FLOORS)
def test_boxes_count_for_their_own_image_only(loss, least_fit, floor):
    outputs = silent(n=2)
    answer(outputs, BOX, least_fit)
    assert loss_of(loss, outputs, [BOX], [0]) < floor
    assert loss_of(loss, outputs, [BOX], [1]) > 10
    # The second image says the box too, but it is not there: nothing spares it.
    answer(outputs, BOX, least_fit, image=1)
    assert loss_of(loss, outputs, [BOX, BOX], [0, 1]) < floor
    assert loss_of(loss, outputs, [BOX], [0]) > 5


def entropy(logit, wanted):
    return np.log1p(np.exp(-abs(logit))) + max(logit, 0) - logit * wanted


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def iou(a, b):
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_darknets_loss_cell_by_cell(seed):
    """forward_yolo_layer's deltas are the gradients of this sum, its truths taken one after the other."""
    rng = np.random.default_rng(seed)
    rows, cols = 96, 64
    outputs = [rng.normal(0, 1.5, (2, 3, 6, rows // s, cols // s)) for s in STRIDES]
    boxes, whose = [], []
    while len(boxes) < 4:
        low = rng.uniform(0, 40, 2)
        box = [*low, *(low + rng.uniform(6, 50, 2))]
        cell = [int((box[i] + box[i + 2]) / 2 // 32) for i in range(2)]
        # Two in one cell would be the same question twice.
        if box[2] <= cols and all(cell != c for c, _ in whose):
            boxes.append(box)
            whose.append((cell, len(boxes) % 2))
    image = [w for _, w in whose]
    total = 0.0
    for n, head in np.ndindex(2, 3):
        stride = STRIDES[head]
        for a, row, col in np.ndindex(3, rows // stride, cols // stride):
            t, anchor = outputs[head][n, a, :, row, col], ANCHORS[3 * head + a]
            x, y = (sigmoid(t[0]) + col) * stride, (sigmoid(t[1]) + row) * stride
            w, h = anchor[0] * np.exp(t[2]), anchor[1] * np.exp(t[3])
            said = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            own = [b for b, whom in zip(boxes, image, strict=True) if whom == n]
            mine = None
            for b in own:
                cx, cy = (b[0] + b[2]) / 2, (b[1] + b[3]) / 2
                if fit_of(b).argmax() == 3 * head + a and (int(cx / stride), int(cy / stride)) == (col, row):
                    mine = b
            if mine is not None:
                cx, cy, bw, bh = (mine[0] + mine[2]) / 2, (mine[1] + mine[3]) / 2, mine[2] - mine[0], mine[3] - mine[1]
                scale = 2 - bw * bh / (rows * cols)
                total += scale * (entropy(t[0], cx / stride - col) + entropy(t[1], cy / stride - row))
                total += scale * ((t[2] - np.log(bw / anchor[0])) ** 2 + (t[3] - np.log(bh / anchor[1])) ** 2) / 2
                total += entropy(t[5], 1) + entropy(t[4], 1)
            elif max((iou(said, b) for b in own), default=0) <= 0.5:
                total += entropy(t[4], 0)
    got = loss_of(PAPER, [torch.from_numpy(o).float() for o in outputs], boxes, image)
    assert got == pytest.approx(total / 2, rel=1e-4)


@pytest.mark.parametrize("least_fit", [1.0, 0.5])
def test_anchors_that_answer(least_fit):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 100, (50, 2))
    boxes = np.concatenate([low, low + np.exp(rng.normal(3.6, 0.7, (50, 2)))], axis=1)
    got = assign(torch.from_numpy(boxes), ANCHORS, least_fit).numpy()
    for box, chosen in zip(boxes, got, strict=True):
        fit = fit_of(box)
        assert chosen.tolist() == [f > least_fit or k == fit.argmax() for k, f in enumerate(fit)]
    assert assign(torch.zeros(0, 4), ANCHORS, least_fit).shape == (0, 9)


def test_decoding_is_the_ops():
    torch.manual_seed(0)
    cells = torch.randn(1, 3, 4, 6, 6)  # (n, anchors, rows, cols, channels)
    anchors = torch.tensor(ANCHORS[:3], dtype=torch.float32)
    got = decode(cells, anchors, 8)[0].reshape(-1, 4).numpy()
    head = cells[0].permute(0, 3, 1, 2).reshape(18, 4, 6).numpy()
    expected, _ = ops.decode_yolo([np.ascontiguousarray(head)], [8], ANCHORS[:3], 0.0)
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_complete_iou_against_its_definition():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (200, 2, 2))
    corners = np.concatenate([low, low + rng.uniform(1, 60, (200, 2, 2))], axis=2)
    got = complete_iou(*(torch.from_numpy(corners[:, i]).double() for i in range(2))).numpy()
    for (a, b), value in zip(corners, got, strict=True):
        sizes = [(c[2] - c[0], c[3] - c[1]) for c in (a, b)]
        gap = np.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2
        diagonal = np.hypot(max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1]))
        v = 4 / np.pi**2 * (np.arctan(sizes[0][0] / sizes[0][1]) - np.arctan(sizes[1][0] / sizes[1][1])) ** 2
        overlap = iou(a, b)
        assert value == pytest.approx(overlap - gap**2 / diagonal**2 - v * v / (1 - overlap + v), abs=1e-6)


@pytest.mark.parametrize("wrong", [{"anchors": ANCHORS[:8]}, {"anchors": ANCHORS, "box": "giou"}])
def test_misuse(wrong):
    with pytest.raises(ValueError, match=r"anchors|box"):
        YoloLoss(**wrong)
