import itertools

import pytest

from mammofast.errors import ProfilingError
from mammofast.profiling.contest import Contest, Way
from mammofast.profiling.doubts import above_ceiling, call_bound
from mammofast.profiling.sampling import Effort

BRIEF = Effort(warm_up=0, seconds=0.001, at_least=2)


def equal(a, b):
    return a == b


def test_a_way_that_gives_something_else_is_refused_before_anything_is_timed():
    calls = itertools.count()
    contest = Contest("halves", "", lambda: next(calls) * 0, {"truncating": Way(lambda: 1, equal)})
    with pytest.raises(ProfilingError, match="halves: truncating gives another result"):
        contest.measure(BRIEF)
    assert next(calls) == 1


def test_each_way_is_held_to_its_own_form():
    contest = Contest("n", "", lambda: 1, {"text": Way(lambda: "1", lambda ours, other: str(ours) == other)})
    case = contest.measure(BRIEF)
    assert set(case.samples) == {"mammofast", "text"}
    assert case.ours == "mammofast"
    assert len(case.samples["text"]) == len(case.samples["mammofast"]) >= 2


def test_what_is_left_out_is_written_down():
    case = Contest("n", "", lambda: 1, left_out=("cc3d",), facts={"kept": 3}).measure(BRIEF)
    assert case.facts == {"kept": 3, "left_out": ["cc3d"]}


def test_a_call_that_is_all_overhead_is_said_to_be():
    same = Contest("n", "", lambda: sum(range(1000)), smallest=lambda: sum(range(1000))).measure(BRIEF)
    assert any("Python-bound" in warning for warning in same.warnings)
    assert same.facts["call_overhead_ms"] > 0
    less = Contest("n", "", lambda: sum(range(100_000)), smallest=lambda: None).measure(BRIEF)
    assert not any("Python-bound" in warning for warning in less.warnings)


def test_when_calls_and_ceilings_are_doubted():
    assert call_bound(0.4, 1) == ()
    assert "Python-bound: 60% " in call_bound(0.6, 1)[0]
    assert "100% " in call_bound(2, 1)[0]
    assert above_ceiling(None) == above_ceiling(1.01) == ()
    assert "110% of the ceiling" in above_ceiling(1.1)[0]
