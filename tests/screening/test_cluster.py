"""Workers with a card each: what they see of the machine's cards."""

import os
import subprocess
import sys

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
    assert all(address.startswith("tls://127.0.0.1:") for address in addresses)


def test_without_cards_a_worker_has_one_thread(elsewhere):
    with cluster.local_client(1) as client:
        client.wait_for_workers(1, timeout=60)
        assert list(client.nthreads().values()) == [1]


# Another user's program, which knows where everything listens: in clear text, with a certificate of its own, and with
# none, believing whatever it is told.
STRANGER = """
import asyncio
import ssl
import sys
from distributed.core import rpc
from distributed.security import Security

async def ask(scheme, address, ssl_context):
    try:
        async with rpc(f"{scheme}://{address}", timeout=3, connection_args={"ssl_context": ssl_context}) as them:
            print("answered", (await them.identity())["type"])
    except (OSError, asyncio.TimeoutError) as error:
        print("refused", scheme)

async def ask_all(addresses):
    naive = ssl.create_default_context()
    naive.check_hostname, naive.verify_mode = False, ssl.CERT_NONE
    theirs = Security.temporary().get_connection_args("client")["ssl_context"]
    theirs.verify_mode = ssl.CERT_NONE
    for one in (("tcp", None), ("tls", theirs), ("tls", naive)):
        await asyncio.gather(*(ask(one[0], address, one[1]) for address in addresses))

asyncio.run(ask_all(sys.argv[1:]))
"""


@pytest.mark.parametrize("cards", [(), ("0",)])
def test_nobody_else_on_this_machine_is_answered(cards, elsewhere):
    with cluster.local_client(1, cards) as client:
        client.wait_for_workers(1, timeout=60)
        (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
        addresses = [client.scheduler.address, worker["nanny"], *client.nthreads()]
        words = [address.partition("://")[2] for address in addresses]
        said = subprocess.run([sys.executable, "-c", STRANGER, *words], capture_output=True, text=True, timeout=120)
        assert said.stdout.split() == ["refused", "tcp"] * 3 + ["refused", "tls"] * 6, said
        assert client.submit(int, "7").result(timeout=30) == 7
