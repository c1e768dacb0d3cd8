"""Boxes of several scales put together: against plain loops."""

import numpy as np
import pytest

from mammofast.ops import device
from mammofast.ops._device.collecting import DecodedBatch, KeptBatch


def draw(rng, n, capacity):
    """What one scale found and kept; what stands behind the counts is rubbish that nobody may look at."""
    boxes = rng.random((n, capacity, 4), dtype=np.float32)
    scores = rng.random((n, capacity), dtype=np.float32)
    counts = rng.integers(0, capacity + 1, n).astype(np.int32)
    indices = np.stack([rng.permutation(capacity) for _ in range(n)]).astype(np.int32)
    for image, count in enumerate(counts):
        indices[image, count:] = -1
    zeros = np.zeros(n, np.int32)
    return DecodedBatch(boxes, scores, np.full(n, capacity, np.int32), zeros), KeptBatch(indices, counts, zeros)


def by_hand(parts, image):
    boxes, scores, part_of = [], [], []
    for number, (found, kept) in enumerate(parts):
        for index in kept.indices[image, : kept.counts[image]]:
            boxes.append(found.boxes[image, index])
            scores.append(found.scores[image, index])
            part_of.append(number)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(part_of, np.int32)


def test_equals_a_loop(device_backend):
    rng = np.random.default_rng(0)
    collect = device_backend(device.collect_boxes)
    for _ in range(20):
        n = int(rng.integers(1, 5))
        parts = [draw(rng, n, int(rng.integers(1, 200))) for _ in range(rng.integers(1, 7))]
        capacity = int(rng.integers(1, 700))
        collected = collect(parts, capacity)
        for image in range(n):
            expected = by_hand(parts, image)
            overflows = len(expected[0]) > capacity
            count = 0 if overflows else len(expected[0])
            assert collected.counts[image] == count
            assert collected.status[image] == (device.OVERFLOW if overflows else 0)
            for got, wanted in zip(collected[:3], expected, strict=True):
                assert np.array_equal(got[image, :count], wanted[:count])
                assert not got[image, count:].any()


def test_status_of_all_parts(device_backend):
    rng = np.random.default_rng(1)
    parts = [draw(rng, 3, 5) for _ in range(2)]
    parts[0] = parts[0][0]._replace(status=np.array([0, device.NOT_FINITE, 0], np.int32)), parts[0][1]
    parts[1] = parts[1][0], parts[1][1]._replace(status=np.array([0, device.UNSOUND, device.UNSOUND], np.int32))
    collected = device_backend(device.collect_boxes)(parts, 10)
    assert collected.status.tolist() == [0, device.NOT_FINITE | device.UNSOUND, device.UNSOUND]


def test_what_is_refused(device_backend):
    rng = np.random.default_rng(2)
    collect = device_backend(device.collect_boxes)
    with pytest.raises(ValueError, match=r"parts: got 0 of them, expected 1 to 16"):
        collect([], 5)
    with pytest.raises(ValueError, match="capacity: got -1"):
        collect([draw(rng, 1, 5)], -1)
    with pytest.raises(ValueError, match=r"parts\[1\] boxes: got float32 of shape \(2, 5, 4\)"):
        collect([draw(rng, 1, 5), draw(rng, 2, 5)], 9)
