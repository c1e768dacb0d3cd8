"""Faster R-CNN between its networks: against PyTorch, written plainly, and by hand."""

import warnings
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional

from mammofast.errors import BrokenImage, Reason
from mammofast.methods.faster_rcnn import Anchors, Settings, classify, decode, detect, encode, propose
from mammofast.models.faster_rcnn import FasterRCNN

ANCHORS = Anchors(scales=(1.0, 2.0, 4.0), ratios=(0.5, 1.0, 2.0))
# More proposals than there can be: the head's batch is padded.
SETTINGS = Settings(anchors=ANCHORS, candidates=150, proposals=160, detections=15)


def network():
    """A narrow network whose random weights give scores from 0 to 1 and boxes unlike their anchors."""
    torch.manual_seed(0)
    network = FasterRCNN(classes=3, depth=50, width=1 / 8).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.6, 1.4)
            torch.nn.init.uniform_(module.weight, 0.4, 0.8)
    parts = network.trunk_and_proposals, network.head
    image = images()
    with torch.no_grad():  # outputs of size 1 or so, whatever the width
        features, objectness, deltas = parts[0](image)
        parts[0].objectness.weight *= 2 / objectness.std()
        parts[0].deltas.weight *= 0.4 / deltas.std()
        rois = torch.cat([features[:, :, y : y + 7, x : x + 7] for y in range(3) for x in range(3)])
        logits, shifts = parts[1](rois)
        parts[1].classes.weight *= 2 / logits.std(dim=0).mean()
        parts[1].classes.bias -= parts[1](rois)[0].mean(dim=0)
        parts[1].deltas.weight *= 2 / shifts.std()
    return network


def images():
    return torch.randn(2, 3, 152, 136, generator=torch.Generator().manual_seed(1))


def runner(part, example, names, path):
    """A part as ONNX Runtime runs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        axes = {name: {0: "n"} for name in ("input", *names)}
        torch.onnx.export(
            part,
            (example,),
            str(path),
            input_names=["input"],
            output_names=names,
            dynamic_axes=axes,
            opset_version=18,
            dynamo=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda array: session.run(None, {"input": array})


def plain_nms(boxes, scores, threshold):
    kept = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        for j in kept:
            low, high = torch.maximum(boxes[i, :2], boxes[j, :2]), torch.minimum(boxes[i, 2:], boxes[j, 2:])
            inter = (high - low).clamp(min=0).prod()
            union = (boxes[i, 2:] - boxes[i, :2]).prod() + (boxes[j, 2:] - boxes[j, :2]).prod() - inter
            if inter / union > threshold:
                break
        else:
            kept.append(i)
    return kept


def plain_decode(anchor, delta, std, rows, cols):
    x0, y0, x1, y1 = anchor
    dx, dy, dw, dh = (float(d) * s for d, s in zip(delta, std, strict=True))
    w, h = x1 - x0, y1 - y0
    x, y = (x0 + x1) / 2 + dx * w, (y0 + y1) / 2 + dy * h
    w, h = w * min(np.exp(dw), 62.5), h * min(np.exp(dh), 62.5)
    return [
        min(max(x - w / 2, 0), cols),
        min(max(y - h / 2, 0), rows),
        min(max(x + w / 2, 0), cols),
        min(max(y + h / 2, 0), rows),
    ]


def plain_roi_align(features, box):
    """7 × 7 bins of 2 × 2 samples by grid_sample, which knows nothing of boxes."""
    _, rows, cols = features.shape
    x0, y0, x1, y1 = (float(side) / 16 - 0.5 for side in box)
    steps = (torch.arange(14, dtype=torch.float64) + 0.5) / 14
    x, y = x0 + steps * (x1 - x0), y0 + steps * (y1 - y0)
    counts = ((y >= -1) & (y <= rows))[:, None] & ((x >= -1) & (x <= cols))[None]
    x, y = x.clamp(0, cols - 1) * 2 / (cols - 1) - 1, y.clamp(0, rows - 1) * 2 / (rows - 1) - 1
    grid = torch.stack([x[None].expand(14, 14), y[:, None].expand(14, 14)], dim=2)
    sampled = functional.grid_sample(features[None].double(), grid[None], align_corners=True)[0] * counts
    return sampled.reshape(-1, 7, 2, 7, 2).mean(dim=(2, 4)).float()


def plain_detections(network, image):
    """One image through Faster R-CNN, loop by loop."""
    rows, cols = image.shape[1:]
    with torch.no_grad():
        features, objectness, deltas = (out[0] for out in network.trunk_and_proposals(image[None]))
    found = []
    for y in range(features.shape[1]):
        for x in range(features.shape[2]):
            for a, (ratio, scale) in enumerate((r, s) for r in ANCHORS.ratios for s in ANCHORS.scales):
                w, h = 16 * scale / ratio**0.5, 16 * scale * ratio**0.5
                cx, cy = 16 * x + 8, 16 * y + 8
                anchor = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
                score = torch.stack([objectness[a, y, x], objectness[9 + a, y, x]]).softmax(0)[1]
                found.append((score, plain_decode(anchor, deltas[4 * a : 4 * a + 4, y, x], (1, 1, 1, 1), rows, cols)))
    found.sort(key=lambda item: -item[0])
    scores = torch.stack([score for score, _ in found[:150]])
    boxes = torch.tensor([box for _, box in found[:150]], dtype=torch.float64)
    some = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    boxes, scores = boxes[some], scores[some]
    proposals = boxes[plain_nms(boxes, scores, 0.7)]
    with torch.no_grad():
        logits, shifts = network.head(torch.stack([plain_roi_align(features, box) for box in proposals]))
    probabilities = logits.softmax(1)
    results = []
    for kind in (1, 2):
        rows_of = [i for i in range(len(proposals)) if probabilities[i, kind] > 0.05]
        decoded = [
            plain_decode(proposals[i].tolist(), shifts[i, 4 * kind : 4 * kind + 4], (0.1, 0.1, 0.2, 0.2), rows, cols)
            for i in rows_of
        ]
        decoded = torch.tensor(decoded, dtype=torch.float64)
        confidence = probabilities[rows_of, kind]
        results += [(float(confidence[i]), kind, decoded[i].tolist()) for i in plain_nms(decoded, confidence, 0.3)]
    return sorted(results, reverse=True)[:15]


def test_two_engines_and_our_ops_are_faster_rcnn_in_torch(tmp_path):
    net, image = network(), images()
    trunk = runner(net.trunk_and_proposals, image[:1], ["features", "objectness", "deltas"], tmp_path / "trunk.onnx")
    head = runner(net.head, torch.zeros(1, 128, 7, 7), ["classes", "deltas"], tmp_path / "head.onnx")
    sizes = []

    def watched_head(rois):
        sizes.append(rois.shape)
        return head(rois)

    found = detect(image.numpy(), trunk, watched_head, SETTINGS)
    assert sizes == [(160, 128, 7, 7)] * 2
    for one, detections in zip(image, found, strict=True):
        expected = plain_detections(net, one)
        assert len(expected) > 5
        assert detections.classes.tolist() == [kind for _, kind, _ in expected]
        np.testing.assert_allclose(detections.scores, [score for score, _, _ in expected], atol=1e-4)
        np.testing.assert_allclose(detections.boxes, [box for *_, box in expected], atol=1e-2)
    assert set(np.concatenate([one.classes for one in found])) == {1, 2}


def test_anchors_by_hand():
    anchors = Anchors(stride=4, scales=(2.0, 4.0), ratios=(0.25, 1.0), offset=0.5)
    assert anchors.count == 4
    grid = anchors.at(2, 3)
    assert grid.shape == (24, 4)
    assert grid[:4].tolist() == [[-6, 0, 10, 4], [-14, -2, 18, 6], [-2, -2, 6, 6], [-6, -6, 10, 10]]  # ratio, scale
    assert np.array_equal(grid[4:8] - grid[:4], np.tile([4, 0, 4, 0], (4, 1)))  # then columns, then rows
    assert np.array_equal(grid[12:] - grid[:12], np.tile([0, 4, 0, 4], (12, 1)))


def test_anchors_of_torchvision():
    """Its AnchorGenerator's base anchors for sizes 32 and 64 and three ratios, from its published arithmetic."""
    anchors = Anchors(scales=(2.0, 4.0), offset=0.0, rounded=True).at(1, 2)
    assert anchors[:6].tolist() == [
        [-23, -11, 23, 11],
        [-45, -23, 45, 23],
        [-16, -16, 16, 16],
        [-32, -32, 32, 32],
        [-11, -23, 11, 23],
        [-23, -45, 23, 45],
    ]
    assert np.array_equal(anchors[6:] - anchors[:6], np.tile([16, 0, 16, 0], (6, 1)))


def test_decoding_undoes_encoding():
    rng = np.random.default_rng(0)
    low, size = rng.uniform(-50, 500, (2, 300, 2)), rng.uniform(5, 200, (2, 300, 2))
    anchors, boxes = np.concatenate([low, low + size], axis=2)
    deltas = encode(anchors, boxes, (0.1, 0.1, 0.2, 0.2))
    np.testing.assert_allclose(decode(anchors, deltas, (0.1, 0.1, 0.2, 0.2)), boxes, atol=1e-9)
    moved = encode(np.array([[0, 0, 10, 20]]), np.array([[1, 4, 11, 24]]), (0.1, 0.1, 0.2, 0.2))
    np.testing.assert_allclose(moved, [[1, 2, 0, 0]])


def test_growth_has_a_limit():
    boxes = decode(np.array([[0, 0, 16, 16]]), np.array([[0, 0, 1e4, 1e4]], np.float32), (1, 1, 1, 1))
    np.testing.assert_allclose(boxes, [[-492, -492, 508, 508]])


ONE = Settings(anchors=Anchors(scales=(1.0,), ratios=(1.0,)), candidates=4, proposals=2)


def one_anchor(margins):
    """Outputs of a trunk with one anchor of 16 pixels at each place: nothing moves."""
    something = np.array(margins, np.float32)
    return np.stack([np.zeros_like(something), something]), np.zeros((4, *something.shape), np.float32)


def test_proposals_by_hand():
    objectness, deltas = one_anchor([[0, 2, 1], [-1, 3, 5]])
    boxes, scores = propose(objectness, deltas, (32, 48), ONE)
    assert boxes.tolist() == [[32, 16, 48, 32], [16, 16, 32, 32]]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([-5, -3])), rtol=1e-6)
    # Boxes off the image are lost after the candidates were chosen.
    boxes, scores = propose(objectness, deltas, (16, 48), ONE)
    assert boxes.tolist() == [[16, 0, 32, 16], [32, 0, 48, 16]]
    boxes, _ = propose(objectness, deltas, (16, 48), replace(ONE, candidates=3))
    assert boxes.tolist() == [[16, 0, 32, 16]]
    # One that is drawn over its better neighbour goes.
    deltas[0, 1, 1] = 1
    boxes, _ = propose(objectness, deltas, (32, 48), ONE)
    assert boxes.tolist() == [[32, 16, 48, 32], [16, 0, 32, 16]]


def test_classes_by_hand():
    proposals = np.array([[0, 0, 20, 20], [1, 0, 20, 20], [40, 40, 60, 60], [0, 0, 9, 9]], np.float32)
    logits = np.log(np.array([[1, 6, 3], [1, 5, 4], [6, 3.9, 0.1], [9.8, 0.1, 0.1]], np.float32) / 10)
    deltas = np.zeros((4, 12), np.float32)
    deltas[2, 4:8] = 1, 0, 5 * np.log(2), 0  # class 1: a tenth of its width to the right, twice as wide
    found = classify(logits, deltas, proposals, (100, 100), ONE)
    # In class 1 the second box falls to the first, in class 2 the first to the second; the last is below the threshold.
    assert found.classes.tolist() == [1, 2, 1]
    np.testing.assert_allclose(found.scores, [0.6, 0.4, 0.39], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, [[0, 0, 20, 20], [1, 0, 20, 20], [32, 40, 72, 60]], rtol=1e-5)


def test_nothing_found():
    objectness, deltas = one_anchor([[0, 0]])
    boxes, scores = propose(objectness, deltas, (0, 0), ONE)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)
    found = classify(np.zeros((0, 2), np.float32), np.zeros((0, 8), np.float32), boxes, (9, 9), ONE)
    assert [len(column) for column in found] == [0, 0, 0]


def test_outputs_that_do_not_fit():
    objectness, deltas = one_anchor([[0, 2]])
    with pytest.raises(ValueError, match=r"objectness \(2, 1, 2\) .* expected 18 and 36 channels .* for 9 anchors"):
        propose(objectness, deltas, (16, 32), Settings())
    with pytest.raises(ValueError, match=r"deltas \(2, 4\) for 2 proposals"):
        classify(np.zeros((2, 2), np.float32), np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32), (9, 9), ONE)
    with pytest.raises(ValueError, match="scales and ratios above 0"):
        Anchors(scales=(0.0,))
    deltas[1, 0, 1] = np.nan
    with pytest.raises(BrokenImage, match="the trunk gave NaN or infinity"):
        propose(objectness, deltas, (16, 32), ONE)
    logits = np.array([[0, np.inf]], np.float32)
    with pytest.raises(BrokenImage, match="the head gave NaN or infinity"):
        classify(logits, np.zeros((1, 8), np.float32), np.zeros((1, 4), np.float32), (9, 9), ONE)


def test_nan_in_the_features_alone_is_the_images_fault():
    def trunk(image):
        outputs = np.zeros((1, 2 * ANCHORS.count, 9, 8), np.float32), np.zeros((1, 4 * ANCHORS.count, 9, 8), np.float32)
        return np.full((1, 16, 9, 8), np.nan, np.float32), *outputs

    with pytest.raises(BrokenImage, match="trunk gave NaN") as caught:
        detect(images()[:1].numpy(), trunk, None, SETTINGS)
    assert caught.value.reason == Reason.NOT_FINITE
