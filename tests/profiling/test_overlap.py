"""Accounts of stages that work at the same time: a pipeline with a simulated device, in virtual time."""

from dataclasses import replace

import pytest

from mammofast.pipeline.board import Board
from mammofast.pipeline.stage import Stage
from mammofast.pipeline.virtual import Server, VirtualTime
from mammofast.profiling.bottleneck import BETWEEN, account, bounds, verdict
from mammofast.profiling.overlap import CARD, covered, outermost
from mammofast.screening.trace import RECORD, TASK
from mammofast.tracing import Span
from tests.pipeline.simulated import SimulatedDevice

WORKER, DRIVER = 0, 7
READERS, LANES = 4, 2
# Seconds an image, when nothing is slowed: each well below what any of them could do.
USUAL = {"read": 0.4, "detect": 0.1, "read native": 0.4, "segment": 0.1, RECORD: 0.1}


def course(slow=None, times=10.0, images=200):
    """Return the spans of a worker on a card whose stages overlap, one of them slowed, and of who records results."""
    clock = VirtualTime()
    seconds = {stage: usual * (times if stage == slow else 1) for stage, usual in USUAL.items()}
    card = SimulatedDevice(clock, memory=1 << 40)
    cores, recorder = Server("cores", READERS * 2), Server("recorder")

    def on(server, stage):
        def work(units):
            clock.spend(server, seconds[stage] * len(units))
            return units

        return work

    def network(stage):
        return card.engine(lambda unit: unit, lambda n: n * seconds[stage], image=lambda unit: unit)

    stages = [
        Stage(name="read", work=on(cores, "read"), workers=READERS),
        Stage(name="detect", work=network("detect"), batch=4, workers=LANES, device=True),
        Stage(name="read native", work=on(cores, "read native"), workers=READERS),
        Stage(name="segment", work=network("segment"), batch=4, workers=LANES, device=True),
        Stage(name=RECORD, work=on(recorder, RECORD), workers=1),
    ]
    timeline = clock.run([Board(stages)], [range(images)])
    spans = [replace(span, process=DRIVER) if span.stage == RECORD else span for span in timeline.spans]
    # Several tasks at a time feed one pipeline: each waits, in a thread of its own, for its images.
    end = timeline.seconds
    return [*spans, *(Span(TASK, 0.0, end, images // 4, WORKER, -1 - number) for number in range(4))]


@pytest.mark.parametrize("slow", ["read", "read native", "detect", "segment", RECORD])
def test_the_slowed_stage_is_named(slow):
    found = account(course(slow))
    words = verdict(found, 1.0)
    on_card = slow in {"detect", "segment"}
    assert found.bottleneck == (CARD if on_card else slow)
    assert found.busy[found.bottleneck] == max(found.busy.values()) > 0.9
    assert all(0 <= share <= 1 for share in (*found.busy.values(), *found.stages.values()))
    if on_card:
        assert words.startswith("The limit is the card: a call is at work on it 100% of the time")
        assert f", mostly {slow!r}." in words
    elif slow == RECORD:
        assert words.startswith("The limit is putting results on record: 9")
    else:
        assert words.startswith(f"The limit is {slow!r}: its threads are busy 9")
    assert bounds(found) == (("transfer-bound: readers' threads are the busiest",) if slow.startswith("read") else ())


def test_seconds_of_stages_that_overlap_are_not_taken_from_one_another():
    """By sums of seconds reading is the largest, four threads of it; by what is idle least the card is the limit."""
    spans = course("detect", times=4.0)
    sums = {stage: sum(span.seconds for span in spans if span.stage == stage) for stage in USUAL}
    found = account(spans)
    assert sums["read"] >= sums["detect"] * 0.9
    assert found.bottleneck == CARD
    assert found.on_card == "detect"
    assert found.images == 200
    assert found.idle == 0
    assert found.unfilled == 0


def test_nothing_that_is_busy_all_the_time_is_said():
    spans = [
        Span(TASK, 0, 10, 4, WORKER, 1),
        Span("read", 0, 4, 1, WORKER, 2),
        Span("detect", 4, 9, 1, WORKER, 3),
    ]
    found = account(spans)
    assert found.busy == {"read": 0.4, CARD: 0.5}
    assert found.stages == {"read": 0.4, "detect": 0.5, BETWEEN: 0.0}
    assert verdict(found, 1.0).startswith("Nothing is busy all the time, 'the card' is most, 50% of it")


def test_two_calls_at_once_on_a_card_keep_it_busy_once():
    spans = [
        Span(TASK, 0, 10, 4, WORKER, 1),
        Span("detect", 0, 6, 1, WORKER, 2),
        Span("segment", 4, 8, 1, WORKER, 3),
        Span("detect", 5, 7, 1, WORKER, 4),
    ]
    assert account(spans).busy == {CARD: 0.8}
    other = [replace(span, process=1) for span in spans]
    assert account([*spans, *other]).busy == {CARD: 0.8}  # a worker a card
    assert account(spans, spans).busy == {CARD: 0.8}


def test_a_span_inside_another_of_its_thread_is_not_counted_again():
    spans = [
        Span(TASK, 0, 10, 4, WORKER, 1),
        Span("read", 0, 8, 1, WORKER, 2),
        Span("read", 1, 3, 1, WORKER, 2),
        Span("prepare", 3, 8, 1, WORKER, 2),
        Span("read", 8, 10, 1, WORKER, 2),
    ]
    assert account(spans).busy == {"read": 1.0}
    assert [span.start for span in outermost(spans[1:])] == [0, 8]


def test_recording_may_be_what_overlapping_stages_wait_for():
    spans = [Span(TASK, 0, 10, 4, WORKER, 1), Span("detect", 0, 6, 1, WORKER, 2)]
    found = account([*spans, Span(RECORD, 0, 9, 1, DRIVER, 1)])
    assert found.busy == {CARD: 0.6, RECORD: 0.9}
    assert found.bottleneck == RECORD


def test_what_intervals_cover():
    assert covered([]) == 0
    assert covered([(5, 6), (0, 3), (1, 2), (2, 4)]) == 5
