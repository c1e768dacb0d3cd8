import json
import os
import time

import pytest

from mammofast import tracing


@pytest.fixture
def recorder():
    yield tracing.start_recording()
    tracing.stop_recording()


def test_a_span_is_kept_with_its_time_and_place(recorder):
    before = time.monotonic()
    with tracing.span("detect", 3):
        time.sleep(0.01)
    (found,) = recorder.spans
    assert (found.stage, found.items, found.process) == ("detect", 3, os.getpid())
    assert before <= found.start < found.end <= time.monotonic()
    assert found.seconds >= 0.01


def test_a_stage_that_fails_is_kept_and_fails(recorder):
    with pytest.raises(KeyError), tracing.span("detect"):
        raise KeyError
    assert len(recorder.spans) == 1


def test_without_a_recorder_nothing_is_kept(recorder):
    tracing.stop_recording()
    with tracing.span("detect"):
        pass
    assert recorder.spans == []


def test_what_was_taken_is_not_kept_twice(recorder):
    with tracing.span("detect"):
        tracing.sample("tasks", 2)
    spans, samples = recorder.take()
    assert [(found.stage, found.process) for found in spans] == [("detect", os.getpid())]
    assert [(found.name, found.value, found.process) for found in samples] == [("tasks", 2, os.getpid())]
    assert spans[0].start <= samples[0].time <= spans[0].end
    assert recorder.take() == ([], [])
    tracing.stop_recording()
    tracing.sample("tasks", 3)
    assert recorder.take() == ([], [])


def test_a_thread_that_does_one_thing_is_called_by_it(tmp_path):
    spans = [
        tracing.Span(stage, start, start + 1.0, 1, process, thread)
        for start, (stage, process, thread) in enumerate(
            [("read", 1, 7), ("read", 1, 7), ("detect", 1, 8), ("read", 2, 8), ("fuse", 2, 9), ("paste", 2, 9)]
        )
    ]
    tracing.write_chrome_trace(spans, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    named = {(event["pid"], event["tid"]): event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert named == {(1, 7): "read", (1, 8): "detect", (2, 8): "read"}


def test_a_chrome_trace_has_an_event_for_each(recorder, tmp_path):
    for stage in ("read", "detect"):
        with tracing.span(stage):
            tracing.sample("tasks", 2)
            time.sleep(0.001)
    spans, samples = recorder.take()
    # Perfetto wants no order, but what is written must not depend on that of the files it was read from.
    tracing.write_chrome_trace(reversed(spans), tmp_path / "trace.json", reversed(samples), {os.getpid(): "worker 1"})
    name, *events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert name == {"name": "process_name", "ph": "M", "pid": os.getpid(), "args": {"name": "worker 1"}}
    assert [(event["name"], event["ph"]) for event in events] == [
        ("read", "X"),
        ("detect", "X"),
        ("tasks", "C"),
        ("tasks", "C"),
    ]
    assert events[0]["ts"] == 0
    assert events[1]["ts"] >= events[0]["dur"] >= 1000
    assert events[0]["ts"] <= events[2]["ts"] <= events[1]["ts"] <= events[3]["ts"]
    assert {event["pid"] for event in events} == {os.getpid()}
    assert events[3]["args"] == {"value": 2}


def test_of_nothing_a_chrome_trace_is_empty(tmp_path):
    tracing.write_chrome_trace([], tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"] == []
