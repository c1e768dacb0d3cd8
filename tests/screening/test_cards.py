"""Which card a worker takes where nobody gave it one, and its part of a machine's cores."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import mammofast
from mammofast import machine
from mammofast.engine import driver
from mammofast.errors import EngineError
from mammofast.screening import cards, worker

# A worker process that keeps what it claimed until it is told to end.
PROGRAM = """
import sys
from mammofast.errors import EngineError
from mammofast.screening import cards

cards.card_count = lambda: 2
cards.card_id = lambda index: sys.argv[1:][index]
for line in sys.stdin:
    try:
        print(cards.claim_card(line.strip()), flush=True)
    except EngineError as error:
        print(error, flush=True)
"""


class Process:
    def __init__(self, folder, cards):
        self.cards = cards
        # A /tmp of its own, as systemd's PrivateTmp gives a service one.
        environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(Path(mammofast.__file__).parents[1])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *cards],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def claim(self, device="cuda"):
        self.process.stdin.write(f"{device}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(tmp_path):
    """Start worker processes of one machine, of two cards; each has its own folder for what is temporary."""
    made, cards = [], [uuid.uuid4().hex, uuid.uuid4().hex]

    def start_one():
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Process(folder, cards))
        return made[-1]

    yield start_one
    for process in made:
        process.kill()


REFUSED = "each of the 2 NVIDIA cards that this worker sees is another worker's"


def test_each_worker_of_a_machine_has_a_card_to_itself(start):
    first, second, third = start(), start(), start()
    assert [first.claim("auto"), second.claim()] == ["cuda:0", "cuda:1"]
    assert [first.claim(), second.claim("auto")] == ["cuda:0", "cuda:1"]  # a later run
    assert REFUSED in third.claim()
    assert "'cuda:1'" in third.claim("cuda:1")
    first.kill()  # as a worker that lost its card: the one in its place takes what is free
    assert third.claim() == "cuda:0"


def test_a_card_that_is_named_is_taken_or_refused(start):
    first, second = start(), start()
    assert first.claim("cuda:1") == "cuda:1"
    assert REFUSED in second.claim("cuda:1")
    assert second.claim() == "cuda:0"
    assert REFUSED in first.claim("cuda:0")


def test_a_card_that_does_not_exist_and_a_machine_that_gives_no_names(monkeypatch):
    monkeypatch.setattr(cards, "card_count", lambda: 1)
    monkeypatch.setattr(cards, "card_id", lambda index: None)
    with pytest.raises(EngineError, match="'cuda:7'"):
        cards.claim_card("cuda:7")
    monkeypatch.setattr(cards, "card_id", lambda index: "a" * 200)  # longer than any name
    with pytest.raises(EngineError, match="cannot be told apart"):
        cards.claim_card("cuda")


def test_another_user_s_card_is_not_ours_to_see(start, monkeypatch):
    first = start()
    assert first.claim() == "cuda:0"
    monkeypatch.setattr(cards, "card_count", lambda: 1)
    monkeypatch.setattr(cards, "card_id", lambda index: first.cards[index])
    monkeypatch.setattr(cards, "_CLAIMED", {})
    with pytest.raises(EngineError, match="is another worker's"):
        cards.claim_card("cuda")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert cards.claim_card("cuda") == "cuda:0"
    cards._CLAIMED[0].close()


def test_a_card_is_told_by_its_uuid(monkeypatch):
    class Driver:
        def cuInit(self, flags):
            return 0

        def cuDeviceGet(self, device, index):
            device._obj.value = 40 + index
            return 101 if index > 1 else 0

        def cuDeviceGetUuid_v2(self, found, device):
            for i in range(16):
                found[i] = device.value + i
            return 0

    monkeypatch.setattr(driver, "_driver", Driver)
    assert driver.card_id(1) == bytes(range(41, 57)).hex()
    assert driver.card_id(2) is None
    monkeypatch.setattr(driver, "_driver", lambda: None)
    assert driver.card_id(0) is None


def test_workers_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(112)))
    monkeypatch.setattr(machine, "core_quota", lambda: None)
    monkeypatch.setattr(machine, "_SHARING", 1)
    assert machine.cores() == 112
    machine.share_cores(8)
    assert machine.cores() == 14
    machine.share_cores(500)
    assert machine.cores() == 1


@pytest.mark.parametrize(
    ("mine", "expected"),
    [
        ("tcp://10.0.0.1:9", 2),
        ("tcp://10.0.0.2:9", 3),
        ("tcp://10.0.0.3:9", 3),  # came later: as many as elsewhere
        ("tls://[fe80::1]:7", 1),
    ],
)
def test_workers_are_counted_by_machine(mine, expected):
    there = [*[f"tcp://10.0.0.1:{port}" for port in (1, 9)], *[f"tcp://10.0.0.2:{port}" for port in (1, 2, 3)]]
    assert worker._on_one_machine([*there, "tls://[fe80::1]:7"], mine) == expected
    assert worker._on_one_machine([], mine) == 1
