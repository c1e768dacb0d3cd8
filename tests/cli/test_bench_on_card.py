"""``mammofast bench ops --device cuda``: what it writes and says, over a card that is only a clock."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mammofast.cli import main
from mammofast.errors import ProfilingError
from mammofast.profiling.contest import Way
from mammofast.profiling.device import card as cards
from mammofast.profiling.device.contest import DeviceContest
from mammofast.profiling.ops import device as cases
from tests.profiling.device.fake_card import FakeCard

BRIEF = ("--seconds", "0.01", "--warm-up", "0")


def bench(*arguments):
    return CliRunner().invoke(main, ["bench", "ops", "--device", "cuda", *map(str, arguments)])


@pytest.fixture
def card(monkeypatch):
    card = FakeCard(monkeypatch)
    truth = Way(lambda: np.array([7]), np.array_equal)
    contests = {
        "nms, from memory": DeviceContest("nms, from memory", "", [card.work(1e-3)], np.asarray, truth, 5 * 10**8),
        "nms, in L2": DeviceContest("nms, in L2", "", [card.work(1e-6)], np.asarray, truth, 10**6),
    }
    monkeypatch.setattr(cases, "builders", lambda op, small: {n: lambda card, name: contests[name] for n in contests})
    monkeypatch.setattr(cards, "open_card", lambda: card)
    return card


def test_what_is_written(card, tmp_path):
    done = bench("nms", *BRIEF, "--json", tmp_path / "card.json", "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    content = json.loads((tmp_path / "card.json").read_text())
    assert content["kind"] == "ops"
    assert (content["environment"]["card"], content["environment"]["l2_bytes"]) == ("a card", card.l2_bytes)
    assert content["calibration"]["copy_gb_per_s"] == pytest.approx(1000)
    assert content["calibration"]["core_fp32_gflops"] > 0
    assert any("The card's" in note or "the card's" in note for note in content["notes"])
    memory, l2 = (case["facts"] for case in content["cases"])
    assert (memory["served_from"], memory["share_of_copy"]) == ("memory", pytest.approx(0.5))
    assert (l2["served_from"], l2["share_of_l2_copy"]) == ("L2 cache", pytest.approx(0.25))


def test_what_is_said(card):
    said = " ".join(bench("nms", *BRIEF).output.split())
    assert "500 GB/s, 50% of a copy in memory, the host waits 1,010 µs (mammofast)" in said
    assert "1,000 GB/s, 25% of a copy in L2 cache" in said
    assert "a card; " in said


def test_an_unknown_op_is_misuse_and_no_card_is_said_in_a_line(monkeypatch):
    done = bench("nmss", *BRIEF)
    assert done.exit_code == 2
    assert "got nmss, expected some of collect_boxes" in done.output

    def none():
        raise ProfilingError("device: the CUDA kernels cannot run here: no card")

    monkeypatch.setattr(cards, "open_card", none)
    done = bench("nms", *BRIEF)
    assert (done.exit_code, done.output) == (1, "mammofast: device: the CUDA kernels cannot run here: no card\n")
