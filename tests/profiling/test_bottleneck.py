"""Accounts of spans whose shares are known, and what is said of them."""

import pytest

from mammofast.profiling.bottleneck import BETWEEN, TASK, account, verdict
from mammofast.tracing import Span


def worker(process, tasks, stages, gap=0.0):
    """Return one worker's spans: tasks of four images, each through the stages (name to seconds), a gap between."""
    spans, now = [], 0.0
    for _ in range(tasks):
        start = now
        for stage, seconds in stages.items():
            spans.append(Span(stage, now, now + seconds, 4, process, 1))
            now += seconds
        spans.append(Span(TASK, start, now, 4, process, 1))
        now += gap
    return spans


def test_shares_are_of_all_workers_time():
    found = account(worker(1, 10, {"read": 1, "detect": 3}) + worker(2, 10, {"read": 1, "detect": 3}))
    assert found.seconds == 40
    assert found.images == 80
    assert found.images_per_second == 2
    assert found.workers == 2
    assert found.stages == {"detect": 0.75, "read": 0.25, BETWEEN: 0.0}
    assert found.idle == 0
    assert found.milliseconds["detect"]["p99"] == 3000


def test_time_between_stages_and_between_tasks_is_told_apart():
    spans = [
        Span(TASK, 0, 4, 1, 1, 1),
        Span("detect", 1, 2, 1, 1, 1),
        Span(TASK, 8, 10, 1, 1, 1),
        Span("detect", 8, 9, 1, 1, 1),
    ]
    found = account(spans)
    assert found.stages["detect"] == pytest.approx(0.2)
    assert found.stages[BETWEEN] == pytest.approx(0.4)
    assert found.idle == pytest.approx(0.4)


@pytest.mark.parametrize("slow", ["read", "prepare", "detect", "fuse", "read native", "crop", "segment", "paste"])
def test_the_slowest_stage_is_named(slow):
    stages = dict.fromkeys(["read", "prepare", "detect", "fuse", "read native", "crop", "segment", "paste"], 1.0)
    found = account(worker(1, 5, stages | {slow: 2.0}))
    assert found.bottleneck == slow
    assert f"The limit is {slow!r}: 22%" in verdict(found, 1.0)


def test_waiting_workers_are_not_the_limit():
    found = account(worker(1, 10, {"detect": 1.0}, gap=0.5))
    assert "The workers wait: 3" in verdict(found, 1.0)
    assert "give each task more images" in verdict(found, 1.0)


def test_idle_cores_and_python_are_said():
    spans = [Span(TASK, 0, 10, 1, 1, 1), Span("read", 0, 6, 1, 1, 1)]
    words = verdict(account(spans), 0.3)
    assert "busy 30% of the time only" in words
    assert "Another 40% goes into Python" in words


def test_nothing_has_no_account():
    with pytest.raises(ValueError, match="none of a task"):
        account([])
