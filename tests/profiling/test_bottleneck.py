"""Accounts of spans whose shares are known, and what is said of them."""

import pytest

from mammofast.profiling.bottleneck import BETWEEN, account, bounds, verdict
from mammofast.screening.trace import LIST, RECORD, SEND, TASK
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
    assert (found.milliseconds[TASK]["n"], found.milliseconds[TASK]["p50"]) == (20, 4000)


def test_several_runs_are_added_though_process_ids_come_again():
    one, other = worker(1, 10, {"read": 1, "detect": 3}), worker(1, 10, {"read": 1, "detect": 1})
    found = account(one, other)
    assert (found.seconds, found.images, found.workers) == (60, 80, 1)
    assert found.stages == {"detect": pytest.approx(40 / 60), "read": pytest.approx(20 / 60), BETWEEN: 0.0}
    assert found.idle == 0
    with pytest.raises(ValueError, match="none of a task"):
        account(one, [])


def test_a_worker_that_begins_late_or_ends_early_did_not_wait():
    spans = [*worker(1, 10, {"detect": 1.0}), Span(TASK, 2, 5, 1, 2, 1), Span("detect", 2, 5, 1, 2, 1)]
    found = account(spans)
    assert found.idle == 0
    assert found.unfilled == pytest.approx(7 / 20)
    assert "The limit is 'detect': 65%" in verdict(found, 1.0)
    assert "In 35% of their time workers had nothing to do yet, or no more: too few images" in verdict(found, 1.0)


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


@pytest.mark.parametrize(
    ("stage", "words"),
    [(LIST, "looking up what to screen"), (SEND, "sending tasks"), (RECORD, "putting results on record")],
)
def test_what_keeps_workers_waiting_is_named(stage, words):
    spans = worker(1, 10, {"detect": 1.0}, gap=0.5)
    # What was done before the first task and after the last one kept nobody waiting.
    driver = [Span(stage, at, at + 0.5, 1, 9, 1) for at in (-50.0, *range(10), 60.0)] + [Span("other", 0, 9, 1, 9, 1)]
    found = account(spans + driver)
    assert found.driver[stage] == pytest.approx(5 / 14.5)
    assert "The workers wait: 31% of their time between tasks. Whoever" in verdict(found, 1.0)
    assert f": 34% of its time goes into {words}. " in verdict(found, 1.0)
    assert stage not in found.stages


def test_threads_that_share_the_recording_are_no_more_busy_than_each_of_them():
    """Two results at once, each as long as half of the run: more than the run together."""
    recording = [Span(RECORD, start, start + 5.0, 1, 9, thread) for thread in (1, 2) for start in (0.0, 7.0)]
    found = account(worker(1, 10, {"detect": 1.0}, gap=0.5) + recording)
    assert found.driver[RECORD] == pytest.approx(10 / 14.5)


def test_the_storage_and_python_are_said():
    assert bounds(account(worker(1, 5, {"read": 2.0, "read native": 3.0, "detect": 5.0}))) == (
        "transfer-bound: 50% of the workers' time goes into reading the archive",
    )
    assert bounds(account([Span(TASK, 0, 10, 1, 1, 1), Span("detect", 0, 6, 1, 1, 1)])) == (
        "Python-bound: 40% of the workers' time lies between the stages",
    )
    assert bounds(account(worker(1, 5, {"read": 3.0, "detect": 7.0}))) == ()


def test_idle_cores_and_python_are_said():
    spans = [Span(TASK, 0, 10, 1, 1, 1), Span("read", 0, 6, 1, 1, 1)]
    words = verdict(account(spans), 0.3)
    assert "busy 30% of the time only" in words
    assert "Another 40% goes into Python" in words


def test_nothing_has_no_account():
    with pytest.raises(ValueError, match="none of a task"):
        account([])
