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


def test_spans_come_back_from_a_file(recorder, tmp_path):
    with tracing.span("detect"):
        pass
    tracing.save(recorder.spans, tmp_path / "spans.json")
    assert tracing.load(tmp_path / "spans.json") == recorder.spans


def test_a_chrome_trace_has_an_event_for_each(recorder, tmp_path):
    for stage in ("read", "detect"):
        with tracing.span(stage):
            time.sleep(0.001)
    tracing.write_chrome_trace(recorder.spans, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in events] == ["read", "detect"]
    assert events[0]["ts"] == 0
    assert events[1]["ts"] >= events[0]["dur"] >= 1000
    assert {event["ph"] for event in events} == {"X"}
