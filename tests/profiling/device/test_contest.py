"""What is measured on a card is shown to be right first, and held against the card's own copies."""

import numpy as np
import pytest

from mammofast.errors import ProfilingError
from mammofast.profiling.contest import Way
from mammofast.profiling.device.bandwidth import CopyRates
from mammofast.profiling.device.contest import EMULATED, DeviceContest
from mammofast.profiling.sampling import Effort
from tests.profiling.device.fake_card import FakeCard

EFFORT = Effort(warm_up=0, seconds=0.02, at_least=3)
SEVEN = Way(lambda: np.array([7]), np.array_equal)
RATES = CopyRates(memory=1e12, l2=4e12, l2_bytes=1000)


@pytest.fixture
def card(monkeypatch):
    return FakeCard(monkeypatch)


def contest(calls, **options):
    options = {"truth": SEVEN, "bytes_moved": 100} | options
    return DeviceContest("sevens", "a test", calls, np.asarray, **options)


def test_another_result_than_the_cpus_is_refused_before_anything_is_timed(card):
    wrong = contest([card.work(1e-3)], truth=Way(lambda: np.array([8]), np.array_equal), equality="to the bit")
    with pytest.raises(ProfilingError, match=r"sevens: the card gives another result than the CPU \(to the bit\)"):
        wrong.measure(card, RATES, EFFORT)
    assert card.done == ["work"]


def test_every_set_of_inputs_is_looked_at(card):
    with pytest.raises(ProfilingError, match="than the CPU"):
        contest([card.work(1e-3), lambda: np.array([8])]).check()


def test_another_result_than_ours_is_refused(card):
    with pytest.raises(ProfilingError, match="sevens: a peer gives another result than mammofast"):
        contest([card.work(1e-3)], others={"a peer": Way(lambda: np.array([9]), np.array_equal)}).check()


def test_bytes_and_shares(card):
    call = card.work(1e-3)
    case = contest([call] * 3, bytes_moved=10**9, others={"a peer": Way(card.waiting_work(2e-3), np.array_equal)})
    case = case.measure(card, RATES, EFFORT)
    facts = case.facts
    assert case.samples["mammofast"] == pytest.approx([1e-3] * len(case.samples["mammofast"]))
    assert facts["bytes_moved"] == 10**9
    assert facts["gb_per_s"] == pytest.approx(1000)
    assert facts["share_of_copy"] == pytest.approx(1.0)
    assert facts["share_of_l2_copy"] == pytest.approx(0.25)
    assert facts["served_from"] == "memory"
    assert facts["equal_to_cpu"] == "to the bit"
    assert facts["card"] == "a card"
    assert facts["launches_in_a_sample"]["mammofast"] == 3
    waits = {"mammofast": pytest.approx(1.01), "a peer": pytest.approx(2.01)}
    assert facts["host_waits_ms"] == waits
    assert "emulated" not in facts
    assert not case.warnings or "too short" in case.warnings[0]


def test_what_fits_the_cache_is_said_to_come_from_it(card):
    for sets, where in ((2, "L2 cache"), (30, "memory")):
        case = contest([card.work(1e-6)] * sets).measure(card, RATES, EFFORT)
        assert case.facts["served_from"] == where


def test_a_rate_that_cannot_be_is_doubted(card):
    case = contest([card.work(1e-4)] * 3, bytes_moved=10**9).measure(card, RATES, EFFORT)
    assert any("of the ceiling" in warning for warning in case.warnings)
    case = contest([card.work(0.9e-10)], bytes_moved=100).measure(card, RATES, EFFORT)
    assert not any("of the ceiling" in warning for warning in case.warnings)


def test_an_emulated_card_gives_no_rates_and_says_so(card):
    card.emulated = True
    case = contest([card.work(1e-3)]).measure(card, None, EFFORT)
    assert case.warnings == (EMULATED,)
    assert case.facts["emulated"]
    assert not {"gb_per_s", "share_of_copy", "served_from"} & set(case.facts)


def test_what_is_not_installed_is_named(card):
    assert contest([card.work(1e-3)], left_out=("cupy",)).measure(card, RATES, EFFORT).facts["left_out"] == ["cupy"]
