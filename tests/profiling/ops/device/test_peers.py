"""The other libraries' ways of the cases on a card, run by torch on the CPU and held against the CPU's truth."""

import sys
import types

import numpy as np
import pytest

from mammofast import ops
from mammofast.profiling.device.contest import room, sets_beyond_cache
from mammofast.profiling.ops.device import OPS, builders
from mammofast.profiling.ops.device import label_mask as labelling
from mammofast.profiling.ops.device import nms as suppressing
from mammofast.profiling.ops.device import roi_align as aligning
from mammofast.profiling.ops.device.peers import area_weights, beside_on, tensors
from mammofast.profiling.ops.peers import peer
from tests.profiling.ops.device.played import no_card, on_card

SMALL = [(op, name) for op in OPS for name in builders(op, small=True)]


@pytest.mark.parametrize("op, name", SMALL)
def test_torchs_ways_give_what_the_cpu_gives_and_another_result_would_be_refused(op, name):
    contest = builders(op, small=True)[name](no_card(), name)
    expected = contest.truth.call()
    assert contest.truth.agrees(expected, contest.truth.call())
    assert not contest.truth.agrees(expected, spoilt(expected))
    for title, way in contest.others.items():
        assert way.agrees(expected, way.call()), title
        assert not way.agrees(spoilt(expected), way.call()), title
    assert contest.reason
    assert contest.bytes_moved > 0


def spoilt(result):
    """Return a result of which a tenth is other than it was."""
    if hasattr(result, "_replace"):
        return type(result)(*(spoilt(each) for each in result))
    if isinstance(result, list | tuple):
        return type(result)(spoilt(each) for each in result)
    changed = np.array(result)
    part = changed.reshape(-1)[: -(-changed.size // 10)]
    part[...] = ~part if changed.dtype == bool else part + np.asarray(1).astype(changed.dtype)
    return changed


# By hand: inputs read once, outputs written once.
BYTES = {
    # boxes, scores, counts; masks, status
    "confidence_mask, 2 x 128 x 104, 10 boxes": 2 * 10 * 16 + 2 * 10 * 4 + 2 * 4 + 2 * 128 * 104 * 4 + 2 * 4,
    # 16-bit pixels, windows; half-precision inputs, status
    "detection_inputs, 5 x 128 x 104": 5 * 128 * 104 * 2 + 5 * 16 + 5 * (20 * 10 + 60 * 30) * 2 + 5 * 4,
    # boxes, scores, counts, shapes; boxes, scores, confidence, counts, status
    "fuse_boxes, 3 images of 25": 3 * 25 * 20 + 3 * 4 + 3 * 8 + 3 * 25 * 24 + 3 * 8,
    # boxes, scores, counts; indices, counts, status
    "nms, 130 boxes": 130 * 20 + 4 + 130 * 4 + 8,
    "nms, 3 images of 70": 3 * 70 * 20 + 3 * 4 + 3 * 70 * 4 + 3 * 8,
    # crops, boxes, which image; masks, status
    "paste_masks, 3 dense, small": 6 * 8 * 8 * 4 + 6 * 16 + 6 * 4 + 3 * 128 * 104 + 3 * 4,
    # features, boxes, which map; averages, status
    "roi_align, 2 x 5 boxes": 2 * 3 * 63 * 38 * 4 + 10 * 16 + 10 * 8 + 10 * 3 * 49 * 4 + 2 * 4,
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_must_move(name):
    assert builders(name.split(",")[0], small=True)[name](no_card(), name).bytes_moved == BYTES[name]


def test_bytes_of_what_is_drawn():
    def contest(op):
        (name, build), *_ = [item for item in builders(op, small=True).items() if "dense" not in item[0]]
        return build(no_card(), name)

    found = contest("decode_yolo")
    logits = 2 * 18 * (12 * 8 + 6 * 4 + 3 * 2) * 4
    assert found.facts["boxes_kept"] == sum(len(scores) for _, scores in found.truth.call()) > 0
    assert found.bytes_moved == logits + found.facts["boxes_kept"] * 20 + 2 * 8
    found = contest("paste_masks")
    *masks, areas, boxes = found.truth.call()
    bits = sum(len(np.packbits(mask, axis=1).tobytes()) for mask in masks)
    assert found.bytes_moved == 7 * 16 * 16 * 4 + bits + areas.nbytes + boxes.nbytes + 7 * 4
    assert [mask.sum() for mask in masks] == areas.tolist()
    found = contest("label_mask")
    labels, boxes, areas = found.truth.call()
    assert found.bytes_moved == labels.size * (1 + 4) + len(areas) * (16 + 8) + 8


def test_as_many_sets_as_a_cache_cannot_hold():
    card = no_card()
    card.l2_bytes = 1000
    for working_set, sets in ((3000, 1), (2999, 2), (1000, 3), (94, 32), (93, 1), (5000, 1)):
        assert sets_beyond_cache(card, working_set) == sets
    filled = room(card, (2, 3), np.int32)
    assert filled.shape == (2, 3)
    assert set(filled.tobytes()) == {0xA5}


@pytest.mark.parametrize("op", OPS)
def test_every_op_has_a_peer_and_cases_at_full_size(op):
    module = sys.modules[f"mammofast.profiling.ops.device.{op}"]
    assert module.PEERS
    assert module.CASES
    assert set(module.CASES).isdisjoint(module.SMALL)
    assert all(name.startswith(op) for name in [*module.CASES, *module.SMALL])


def test_no_other_library_runs_where_none_shall():
    here = peer("NumPy", ("numpy",), lambda card: 1, np.array_equal)
    gone = peer("nothing", ("no_such_package",), np.sum, np.array_equal)
    torchs = peer("torch's", ("torch",), lambda card: 1, np.array_equal)
    assert beside_on(no_card(alone=True), (here, gone, torchs)) == ({}, ())
    ways, left_out = beside_on(no_card(), (here, gone, torchs))
    assert list(ways) == ["NumPy", "torch's"]
    assert left_out == ("nothing",)
    ways, left_out = beside_on(no_card(None), (here, gone, torchs))
    assert list(ways) == ["NumPy"]
    assert left_out == ("nothing", "torch's")


@pytest.mark.parametrize("before, after", [(7, 3), (256, 256), (1664, 480), (12, 4)])
def test_area_weights_are_opencvs(before, after):
    import cv2

    image = np.random.default_rng(0).random((before, 5)).astype(np.float32)
    expected = cv2.resize(image, (5, after), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(area_weights(before, after) @ image, expected, atol=1e-6)


# ---- libraries that are not here, played by others that do the same


def module(monkeypatch, name, **contents):
    played = types.ModuleType(name)
    played.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, played)


def test_cupys_labels_are_compared_up_to_their_numbers(monkeypatch):
    ndimage = pytest.importorskip("scipy.ndimage")
    module(monkeypatch, "cupy", asarray=on_card, ones=np.ones, bincount=np.bincount)
    module(monkeypatch, "cupyx")
    module(monkeypatch, "cupyx.scipy", ndimage=ndimage)
    mask = np.random.default_rng(0).random((40, 30)) < 0.3
    way = labelling.by_cupy(no_card(), mask)
    ours = ops.label_mask(mask)
    labels, areas = way.call()
    backward = np.concatenate([[0], np.arange(len(areas), 0, -1)])
    assert way.agrees(ours, (on_card(labels), on_card(areas)))
    assert way.agrees(ours, (on_card(backward[labels]), on_card(areas[::-1])))
    assert not way.agrees(ours, (on_card(labels), on_card(areas + 1)))
    assert not way.agrees(ours, (on_card(np.where(labels == 3, 4, labels)), on_card(areas)))
    one_pixel = np.array(labels)
    one_pixel.flat[np.flatnonzero(labels == areas.argmax() + 1)[-1]] = 1 + (areas.argmax() == 0)
    assert not way.agrees(ours, (on_card(one_pixel), on_card(areas)))


def test_boxes_of_another_image_are_not_the_same():
    (build,) = builders("decode_yolo", small=True).values()
    contest = build(no_card(), "")
    (way,) = contest.others.values()
    image, boxes, scores = way.call()
    assert way.agrees(contest.truth.call(), (image, boxes, scores))
    assert not way.agrees(contest.truth.call(), (image * 0, boxes, scores))


def test_torchvisions_nms_and_roi_align_get_what_they_expect(monkeypatch):
    import torch

    def nms(boxes, scores, threshold):
        return torch.from_numpy(ops.nms(boxes.numpy(), scores.numpy(), threshold))

    def batched_nms(boxes, scores, groups, threshold):
        return torch.from_numpy(ops.nms(boxes.numpy(), scores.numpy(), threshold, groups.numpy()))

    def roi_align(features, rois, size, scale, ratio, aligned):
        assert aligned
        arrays = features.numpy(), rois[:, 1:].numpy(), rois[:, 0].numpy().astype(np.int64)
        return torch.from_numpy(ops.roi_align(*arrays, size, scale, ratio))

    module(monkeypatch, "torchvision")
    module(monkeypatch, "torchvision.ops", nms=nms, batched_nms=batched_nms, roi_align=roi_align)
    rng = np.random.default_rng(0)
    for images in (1, 3):
        drawn = [suppressing.draw_boxes("clustered", 200, rng) for _ in range(images)]
        boxes, scores = (np.stack(each) for each in zip(*drawn, strict=True))
        way = suppressing.by_torchvision(no_card(), boxes, scores)
        kept = [ops.nms(*image, suppressing.THRESHOLD) for image in drawn]
        assert way.agrees(kept, way.call())
        assert not way.agrees([each[:-1] for each in kept], way.call())
        assert not way.agrees(kept, way.call()[:-1])
    features, boxes = rng.standard_normal((2, 3, 9, 8), dtype=np.float32), aligning.draw_boxes(6, rng)
    index = np.array([0, 1, 1, 0, 1, 0])
    way = aligning.by_torchvision(no_card(), features, boxes, index)
    ours = ops.roi_align(features, boxes, index, aligning.GRID, aligning.SCALE, aligning.RATIO)
    assert way.agrees(ours, way.call())
    assert not way.agrees(ours + 1e-4, way.call())


def test_tensors_are_copies_where_torch_runs():
    (found,) = tensors(no_card("cpu"), np.arange(6).reshape(2, 3)[:, ::2])
    assert found.tolist() == [[0, 2], [3, 5]]
    assert found.device.type == "cpu"
