"""A cluster of other machines: network namespaces of their own, TLS between them; and what is refused without it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed.security import Security

import mammofast
from mammofast.errors import SchedulerError
from mammofast.screening.cluster import Access
from tests.screening.runs import snapshot

REQUIRED = "MAMMOFAST_REQUIRE_TOOLS" in os.environ
CLIENT, SCHEDULER, WORKERS = "10.213.7.1", "10.213.7.2", ("10.213.7.3", "10.213.7.4")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Who is trusted, a certificate, its key; and a certificate that nobody trusts."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        made = Security.temporary()
        (folder / f"{name}.pem").write_text(made.tls_ca_file)
        (folder / f"{name}.key").write_text(made.tls_client_key)
    return folder


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


class Network:
    """Machines that reach each other and nothing else: the client's namespace holds a bridge, the others hang on it."""

    def __init__(self, stack):
        self._stack = stack
        self._names = {}
        self._prefix = f"mf{os.getpid()}"
        self._add(CLIENT)
        ip("-n", self._names[CLIENT], "link", "add", "bridge", "type", "bridge")
        ip("-n", self._names[CLIENT], "addr", "add", f"{CLIENT}/24", "dev", "bridge")
        ip("-n", self._names[CLIENT], "link", "set", "bridge", "up")
        for number, address in enumerate((SCHEDULER, *WORKERS)):
            self._add(address)
            name = self._names[address]
            there = ["type", "veth", "peer", "name", "eth0", "netns", name]
            ip("-n", self._names[CLIENT], "link", "add", f"port{number}", *there)
            ip("-n", self._names[CLIENT], "link", "set", f"port{number}", "master", "bridge", "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    def _add(self, address):
        name = self._names[address] = f"{self._prefix}-{len(self._names)}"
        ip("netns", "add", name)
        self._stack.callback(ip, "netns", "del", name)
        ip("-n", name, "link", "set", "lo", "up")

    def command(self, address, module, *words):
        return [
            *("ip", "netns", "exec", self._names[address]),
            *(sys.executable, "-P", "-m", module, *map(str, words)),
        ]

    def start(self, address, module, *words):
        process = subprocess.Popen(
            self.command(address, module, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def run(self, address, module, *words):
        return subprocess.run(self.command(address, module, *words), capture_output=True, text=True, timeout=240)


@pytest.fixture
def network(monkeypatch):
    path = [str(Path(mammofast.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    with contextlib.ExitStack() as stack:
        try:
            made = Network(stack)
        except (OSError, subprocess.CalledProcessError) as error:
            words = f"network namespaces cannot be made here ({getattr(error, 'stderr', None) or error})"
            if REQUIRED and shutil.which("ip") is None:
                pytest.fail(words)
            pytest.skip(f"NOT TESTED: a cluster of other machines; {words}")
        yield made


def tls(keys, name="ours"):
    files = {"ca": keys / f"{name}.pem", "cert": keys / f"{name}.pem", "key": keys / f"{name}.key"}
    return [word for option, path in files.items() for word in (f"--tls-{option}", path)]


def dask_tls(keys):
    return [str(word).replace("--tls-ca", "--tls-ca-file") for word in tls(keys)]


def test_a_cluster_of_other_machines_over_tls(network, keys, archive, bundle, undisturbed, tmp_path, monkeypatch):
    where = tmp_path / "scheduler.json"
    listen = ("--host", f"tls://{SCHEDULER}:8786", "--no-dashboard", "--scheduler-file", where)
    network.start(SCHEDULER, "distributed.cli.dask_scheduler", *listen, *dask_tls(keys))
    end = time.monotonic() + 60
    while not (where.exists() and where.read_text().strip().endswith("}")):
        assert time.monotonic() < end
        time.sleep(0.05)
    scheduler = json.loads(where.read_text())["address"]
    assert scheduler == f"tls://{SCHEDULER}:8786"
    for address in WORKERS:
        options = ("--host", address, "--nthreads", 1, "--no-dashboard", "--local-directory", tmp_path / address)
        network.start(address, "distributed.cli.dask_worker", scheduler, *options, *dask_tls(keys))
    asked = ("screen", archive, tmp_path / "results", "--bundle", bundle, "--scheduler", scheduler)
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "5s")
    # Nobody is let in with a key that the cluster does not trust, nor without any.
    for options, words in ((tls(keys, "theirs"), "answers us"), ([], "who we are")):
        refused = network.run(CLIENT, "mammofast", *asked, *options)
        assert refused.returncode == 1, refused.stderr
        assert "Traceback" not in refused.stderr
        assert words in refused.stderr
        assert snapshot(tmp_path / "results") == {}
    done = network.run(CLIENT, "mammofast", *asked, *tls(keys))
    assert done.returncode == 0, done.stderr
    assert snapshot(tmp_path / "results") == undisturbed


def test_clear_text_to_another_machine_is_refused(network, archive, bundle, tmp_path):
    asked = ("screen", archive, tmp_path / "results", "--bundle", bundle, "--scheduler")
    refused = network.run(CLIENT, "mammofast", *asked, f"tcp://{SCHEDULER}:8786")
    assert refused.returncode == 1
    assert f"tcp://{SCHEDULER}:8786 is another machine, in clear text" in refused.stderr


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:8786", "tcp://[::1]:8786", "localhost:8786", "tcp://127.8.9.1:1",
    ],
)  # fmt: skip
def test_addresses_that_are_spoken_to(address):
    assert not Access().security(address).require_encryption


@pytest.mark.parametrize(
    "address",
    [
        "tcp://10.1.2.3:8786", "10.1.2.3:8786", "tcp://[fe80::1]:8786", "tcp://localhost.example.org:1", "ucx://10.1.2.3:1",
        "ws://192.168.1.1:1", "tcp://127.0.0.1.example.org:1", "tcp://0.0.0.0:8786",
    ],
)  # fmt: skip
def test_addresses_that_are_not(address):
    with pytest.raises(SchedulerError, match="is another machine, in clear text"):
        Access().security(address)
    assert not Access(insecure=True).security(address).require_encryption


def test_keys_are_not_passed_over(keys):
    with pytest.raises(SchedulerError, match="not a tls:// address"):
        Access(keys / "ours.pem").security("tcp://127.0.0.1:8786")
    with pytest.raises(SchedulerError, match="who we are"):
        Access().security("tls://10.1.2.3:8786")
    security = Access(keys / "ours.pem", keys / "ours.pem", keys / "ours.key").security("tls://10.1.2.3:8786")
    assert security.require_encryption
    assert security.tls_client_key == str(keys / "ours.key")
    assert security.tls_ca_file == str(keys / "ours.pem")
