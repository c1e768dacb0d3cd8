"""Pictures: what their SVG says in words."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib
import pytest
from matplotlib.figure import Figure

from mammofast.errors import ProfilingError
from mammofast.profiling import plots
from mammofast.profiling.plots import draw
from mammofast.profiling.record import Case, Record
from mammofast.profiling.timeline import window
from mammofast.tracing import Span

TIMES = [0.01, 0.011, 0.012, 0.011, 0.01]


def engine(batch, gflops=50.0):
    facts = {
        "network": "aunet", "backend": "onnxruntime", "precision": "fp32", "batch": batch, "size": [256, 128],
        "gmac_per_image": 106.4, "flop_per_byte": 88.0, "gflops": gflops, "ceiling_gflops": 100.0,
    }  # fmt: skip
    return Case(f"aunet, batch {batch}", "", {"onnxruntime, fp32": TIMES}, "onnxruntime, fp32", batch, "images", facts)


OPS = Record("ops", "", {"commit": "0123456789"}, (Case("nms, 100", "", {"mammofast": TIMES}, "mammofast"),))
ENGINES = Record("engines", "", {"commit": None}, (engine(1), engine(4)))
PIPELINE = Record(
    "pipeline", "", {},
    (Case("10 studies", "", {"screen": TIMES}, "screen", facts={
        "stages": {"read": 0.25, "detect": 0.5},
        "timeline": window([
            Span("task", 0, 4, 1, 11, 1), Span("crop", 1, 2, 1, 11, 1), Span("paste", 2, 3, 1, 11, 1),
            Span("record", 3, 5, 1, 12, 1), Span("nobody's", 0, 5, 1, 13, 1),
        ], {11: "worker 1", 12: "mammofast screen"}),
    }),),
)  # fmt: skip


ON_CARD = Record(
    "pipeline", "", {},
    (Case("a card", "", {"screen": TIMES}, "screen", facts={
        "stages": {"read": 0.9, "detect": 0.8}, "busy": {"the card": 0.95, "read": 0.9, "record": 0.1},
    }),),
)  # fmt: skip


def text_of(record, path):
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(record, path)
    return " ".join(" ".join(ElementTree.parse(path).getroot().itertext()).split())


@pytest.mark.parametrize(
    "record, expected",
    [
        (OPS, ["mammofast bench ops 01234567", "nms, 100", "ms"]),
        (ENGINES, ["aunet, batch 4", "images/s", "GFLOP/s", "ceiling, fp32", "aunet, 256 × 128, onnxruntime fp32"]),
        (ENGINES, ["FLOP a byte of weights and activations"]),
        (PIPELINE, ["10 studies", "share of the workers' time", "read", "detect"]),
        (PIPELINE, ["worker 1", "mammofast screen, record", "crop", "paste", "s, of a run of 5 s"]),
        (ON_CARD, ["share of the time that it is busy", "the card", "read", "record"]),
    ],
    ids=["ops", "engines", "roofline", "pipeline", "timeline", "on a card"],
)
def test_a_drawing_says_what_it_shows(tmp_path, record, expected):
    text = text_of(record, tmp_path / "plot.svg")
    for each in expected:
        assert each in text


def test_panels_are_only_those_that_there_is_something_for(tmp_path):
    text = text_of(OPS, tmp_path / "plot.svg")
    assert "GFLOP/s" not in text
    assert "images/s" not in text
    assert "workers" not in text
    assert "of a run" not in text


def test_shares_of_stages_that_overlap_are_not_stacked(tmp_path):
    assert "share of the workers' time" not in text_of(ON_CARD, tmp_path / "plot.svg")


def test_a_rate_without_its_bytes_is_not_on_the_roofline(tmp_path):
    """As records of other versions are."""
    case = engine(1)
    facts = {name: value for name, value in case.facts.items() if name != "flop_per_byte"}
    text = text_of(Record("engines", "", {}, (replace(case, facts=facts),)), tmp_path / "plot.svg")
    assert "FLOP a byte" not in text


def test_rates_without_a_ceiling_stay_in_the_picture():
    """On a card none is measured."""
    case = engine(1, gflops=50_000.0)
    axis = Figure().subplots()
    plots._ceiling(axis, Record("engines", "", {}, (replace(case, facts={**case.facts, "ceiling_gflops": None}),)))
    low, high = axis.get_ylim()
    assert low < 50_000 < high


def test_the_same_record_gives_the_same_file(tmp_path):
    with matplotlib.rc_context({"svg.hashsalt": "fixed"}):
        for name in ("a.svg", "b.svg"):
            draw(ENGINES, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_png(tmp_path):
    draw(ENGINES, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ProfilingError, match=r"ends in '\.pdf'"):
        draw(OPS, tmp_path / "plot.pdf")
