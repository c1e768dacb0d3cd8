"""Timing on a card, with clocks that do not move by themselves."""

import pytest

from mammofast.profiling.device.bandwidth import COPY_BYTES, CopyRates, copy_rates
from mammofast.profiling.device.timing import MOST_LAUNCHES, stream_times, waiting_times
from mammofast.profiling.sampling import SAMPLE_SECONDS, Effort
from tests.profiling.device.fake_card import FakeCard

EFFORT = Effort(warm_up=0.01, seconds=0.05, at_least=3)


@pytest.fixture
def card(monkeypatch):
    return FakeCard(monkeypatch)


def test_the_cards_time_is_counted_and_not_the_hosts(card):
    samples, launches = stream_times(card, {"short": [card.work(2e-6)], "long": [card.work(1e-3)]}, EFFORT)
    assert samples["short"] == pytest.approx([2e-6] * len(samples["short"]))
    assert samples["long"] == pytest.approx([1e-3] * len(samples["long"]))
    assert len(samples["short"]) == len(samples["long"]) >= EFFORT.at_least
    assert launches == {"short": MOST_LAUNCHES, "long": round(SAMPLE_SECONDS / 1e-3)}


def test_a_way_that_waits_is_timed_with_its_waiting(card):
    samples, _ = stream_times(card, {"": [card.waiting_work(2e-6)]}, EFFORT)
    assert min(samples[""]) >= 0.9 * (card.launch + 2e-6)


def test_a_host_that_stalls_now_and_then_is_not_counted_either(card):
    launches = iter([1e-5] * 3 + [1.9e-5] * 10_000)
    call = lambda: card.work(2e-6, launch=next(launches))()  # noqa: E731
    samples, _ = stream_times(card, {"": [call]}, Effort(warm_up=0, seconds=0.01, at_least=3))
    assert max(samples[""]) == pytest.approx(2e-6)


def test_every_sample_takes_all_inputs_equally_often(card):
    calls = [card.work(3e-4, name) for name in "abc"]
    _, launches = stream_times(card, {"": calls}, EFFORT)
    assert launches[""] == 9  # 2 ms of 0.3 ms each, and whole rounds
    assert "".join(card.done[-9:]) == "abcabcabc"


def test_ways_take_turns(card):
    calls = {name: [card.work(1e-3, name)] for name in "ab"}
    stream_times(card, calls, EFFORT)
    assert "".join(card.done[-8:]) == "aabbaabb"


def test_the_hosts_wait_is_the_launch_and_the_work(card):
    card.work(1.0)()  # what was asked for before is not waited for
    assert waiting_times(card, card.work(5e-6)) == pytest.approx([card.launch + 5e-6] * 20)


def test_rates_count_bytes_read_and_written(card):
    rates = copy_rates(card)
    assert rates == CopyRates(pytest.approx(1e12), pytest.approx(4e12), card.l2_bytes)
    assert {f"copy {COPY_BYTES}", f"copy {card.l2_bytes // 4}"} == set(card.done)
    assert COPY_BYTES >= 1 << 30
    assert rates.calibration() == {"copy_gb_per_s": pytest.approx(1000), "l2_copy_gb_per_s": pytest.approx(4000)}


def test_an_emulated_card_has_no_rate(card):
    card.emulated = True
    assert copy_rates(card) is None
    assert card.done == []


def test_what_a_cache_can_serve():
    rates = CopyRates(1.0, 2.0, 100)
    assert rates.is_in_l2(299)
    assert not rates.is_in_l2(300)
