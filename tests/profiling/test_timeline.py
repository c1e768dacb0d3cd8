"""The window of a run that a record keeps, and what its picture shows."""

import json

import pytest
from matplotlib.figure import Figure

from mammofast.profiling.timeline import draw_timeline, window
from mammofast.screening.trace import TASK
from mammofast.tracing import Span

NAMES = {1: "worker 1", 2: "mammofast screen"}


def test_lanes_are_threads_named_by_what_they_do():
    spans = [
        Span(TASK, 10, 14, 1, 1, 7),
        Span("detect", 11, 12, 1, 1, 7),
        Span("read", 11, 13, 1, 1, 9),
        Span("read", 13, 15, 1, 1, 9),
        Span("prepare", 13, 14, 1, 1, 9),  # inside: the thread is its stage's all the same
        Span("list", 10, 11, 1, 2, 7),
        Span("record", 12, 13, 1, 2, 7),
        Span("read", 0, 99, 1, 3, 7),
    ]
    shown = window(spans, NAMES)
    assert (shown["seconds"], shown["of_seconds"]) == (5, 5)
    assert [(lane["process"], lane["thread"]) for lane in shown["lanes"]] == [
        ("mammofast screen", ""),
        ("worker 1", "read"),
        ("worker 1", TASK),
    ]
    assert shown["lanes"][2]["spans"] == [[TASK, 0, 4], ["detect", 1, 2]]
    assert shown["lanes"][1]["spans"] == [["read", 1, 3], ["read", 3, 5], ["prepare", 3, 4]]
    assert json.loads(json.dumps(shown)) == shown


def test_a_long_run_is_cut_to_its_middle():
    spans = [Span("read", at, at + 1.0, 1, 1, at % 4) for at in range(10_000)]
    shown = window(spans, NAMES)
    assert 1000 < sum(len(lane["spans"]) for lane in shown["lanes"]) <= 1500
    assert shown["of_seconds"] == 10_000
    starts = [start for lane in shown["lanes"] for _, start, _ in lane["spans"]]
    ends = [end for lane in shown["lanes"] for *_, end in lane["spans"]]
    assert (min(starts), max(ends)) == (0, pytest.approx(shown["seconds"]))
    assert shown["seconds"] == pytest.approx(1400, rel=0.2)


def test_nothing_is_a_window_without_lanes():
    assert window([], NAMES)["lanes"] == []
    assert window([Span("read", 0, 1, 1, 5, 1)], NAMES)["lanes"] == []


def test_each_span_is_a_bar_in_its_lane_and_its_stages_colour():
    spans = [
        Span(TASK, 0, 4, 1, 1, 7),
        Span("detect", 1, 2, 1, 1, 7),
        Span("read", 2, 4, 1, 1, 9),
        Span("read", 0, 1, 1, 1, 9),
    ]
    axis = Figure().subplots()
    draw_timeline(axis, window(spans, NAMES))
    bars = [bars for bars in axis.collections if len(bars.get_paths())]
    corners = [
        [
            (path.vertices[:, 0].min(), path.vertices[:, 0].max(), path.vertices[:, 1].mean().round())
            for path in own.get_paths()
        ]
        for own in bars
    ]
    assert corners == [[(0, 1, 0), (2, 4, 0)], [(0, 4, 1)], [(1, 2, 1)]]
    colours = [tuple(own.get_facecolor()[0]) for own in bars]
    assert len(set(colours)) == 3
    assert [text.get_text() for text in axis.get_yticklabels()] == ["worker 1, read", "worker 1, task"]
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    assert legend == ["detect", "read"]
