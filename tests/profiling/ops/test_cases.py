"""What `mammofast bench ops` times: its peers give what ours gives, and would be refused if they did not."""

from importlib import import_module

import cv2
import numpy as np
import pytest

from mammofast import ops
from mammofast.errors import ProfilingError
from mammofast.profiling import ops as profiled
from mammofast.profiling.contest import Contest, Way
from mammofast.profiling.ops import OPS, builders, op_cases
from mammofast.profiling.ops.drawing import blurred, disjoint_boxes, overlapping_boxes
from mammofast.profiling.ops.peers import beside, peer
from mammofast.profiling.sampling import Effort

BRIEF = Effort(warm_up=0, seconds=1e-4, at_least=1)
# The quickest case of each op: the others differ in size.
QUICK = {
    "confidence_mask": "confidence_mask, 50 boxes, 4096 x 3328",
    "decode_yolo": "decode_yolo, 832 x 416, few boxes",
    "detection_inputs": "detection_inputs, five scales of level 2",
    "fuse_boxes": "fuse_boxes, disjoint boxes, 1,000 to 4,000",
    "label_mask": "label_mask, one mass",
    "nms": "nms, clustered, 100",
    "paste_masks": "paste_masks, 1 of 256 x 256, boxes 300 to 900 pixels",
    "pool": "pool, levels 1 2 3 of 4096 x 3328",
    "roi_align": "roi_align, 1 boxes, sampling ratio 2",
    "segmentation_inputs": "segmentation_inputs, 1 windows to 256 x 256",
}


def test_every_public_op_is_there():
    functions = {name for name in ops.__all__ if name.islower()} - {"placement"}  # a few integers
    assert set(OPS) == functions == set(QUICK)


@pytest.mark.filterwarnings("ignore")  # of the peers' own
@pytest.mark.parametrize("op", OPS)
def test_ways_agree_and_another_result_would_be_refused(op, monkeypatch):
    contest = builders(op)[QUICK[op]](QUICK[op])
    contest.check()
    assert contest.reason
    assert contest.others
    contest.smallest()
    for name, way in contest.others.items():
        assert not way.agrees(contest.ours(), spoilt(way.call())), name


def spoilt(result):
    """Return a result with its numbers changed; an image of labels stays, so that the rest must be looked at."""
    if isinstance(result, tuple) and hasattr(result, "_replace"):
        return result._replace(boxes=spoilt(result.boxes))
    if isinstance(result, list):
        return [spoilt(each) for each in result]
    if isinstance(result, tuple):
        return tuple(each if np.ndim(each) == 2 and np.shape(each)[1] > 4 else spoilt(each) for each in result)
    changed = np.array(result)
    if changed.dtype == bool:
        changed[: len(changed) // 2] = ~changed[: len(changed) // 2]
    else:
        changed[...] = changed + 3
    return changed


def test_an_unknown_op_is_named():
    with pytest.raises(ProfilingError, match="got 'nmss', expected one of confidence_mask"):
        next(op_cases(["nms", "nmss"], BRIEF))


def test_a_disagreement_stops_the_measurement(monkeypatch):
    broken = Contest("nms, broken", "", lambda: 1, {"peer": Way(lambda: 2, lambda a, b: a == b)})
    monkeypatch.setattr(import_module("mammofast.profiling.ops.nms"), "CASES", {"nms, broken": lambda name: broken})
    with pytest.raises(ProfilingError, match="peer gives another result"):
        list(op_cases(["nms"], BRIEF))


def test_a_peer_that_is_missing_is_named_and_the_rest_is_measured():
    here = peer("NumPy", ("numpy",), np.sum, np.array_equal)
    gone = peer("nothing", ("no_such_package",), np.sum, np.array_equal)
    ways, left_out = beside((here, gone), np.ones(3))
    assert list(ways) == ["NumPy"]
    assert ways["NumPy"].call() == 3
    assert left_out == ("nothing",)


def test_cases_are_measured_on_one_core(monkeypatch):
    import os

    seen = []

    def build(name):
        seen.append((len(os.sched_getaffinity(0)), os.environ["OMP_NUM_THREADS"]))
        return Contest(name, "", lambda: 1)

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = os.sched_getaffinity(0), "2"
    monkeypatch.setattr(profiled, "builders", lambda op: {"one": build})
    assert [case.name for case in op_cases(["nms"], BRIEF)] == ["one"]
    assert seen == [(1, "1")]
    assert (os.sched_getaffinity(0), os.environ.get("OMP_NUM_THREADS")) == before


@pytest.mark.parametrize("sigma", [1.5, 6])
def test_blurring_against_opencv(sigma):
    noise = np.random.default_rng(0).standard_normal((80, 61))
    width = 2 * round(4 * sigma) + 1
    expected = cv2.GaussianBlur(noise, (width, width), sigma, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(blurred(noise, sigma), expected, atol=1e-9)


def test_disjoint_boxes_do_not_meet_and_bunches_do():
    boxes, scores = disjoint_boxes(300, np.random.default_rng(0))
    assert len(ops.nms(boxes.astype(np.float32), scores, 0.0)) == 300
    boxes, scores = overlapping_boxes(100, 5, np.random.default_rng(0))
    assert len(ops.nms(boxes.astype(np.float32), scores, 0.3)) < 60
