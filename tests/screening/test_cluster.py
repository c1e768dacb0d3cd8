"""Workers with a card each: what they see of the machine's cards."""

import os

import pytest

from mammofast.screening import cluster


@pytest.mark.parametrize(
    ("stated", "device", "expected"),
    [
        (None, "cuda", ["0", "1", "2"]),
        (None, "cuda:1", ["1"]),
        (None, "cuda:3", []),
        ("5,7,GPU-8f3a", "cuda", ["5", "7", "GPU-8f3a"]),
        ("5,7,GPU-8f3a", "cuda:2", ["GPU-8f3a"]),
    ],
)
def test_cards_are_counted_among_those_that_this_process_sees(monkeypatch, stated, device, expected):
    monkeypatch.delenv(cluster.VISIBLE, raising=False)
    if stated is not None:
        monkeypatch.setenv(cluster.VISIBLE, stated)
    assert cluster.visible_cards(3, device) == expected


def test_no_cards():
    assert cluster.visible_cards(0) == []


def test_each_worker_sees_its_card_before_anything_is_loaded(monkeypatch, elsewhere):
    monkeypatch.setenv(cluster.VISIBLE, "4,6")
    with cluster.local_client(9, cluster.visible_cards(2)) as client:
        client.wait_for_workers(2, timeout=60)
        seen = client.run(os.getenv, cluster.VISIBLE)
        threads = client.nthreads()
        addresses = list(threads)
    assert sorted(seen.values()) == ["4", "6"]
    assert len(set(threads.values())) == 1
    assert next(iter(threads.values())) > 1
    assert all(address.startswith("tcp://127.0.0.1:") for address in addresses)


def test_without_cards_a_worker_has_one_thread(elsewhere):
    with cluster.local_client(1) as client:
        client.wait_for_workers(1, timeout=60)
        assert list(client.nthreads().values()) == [1]
