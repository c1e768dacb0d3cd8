"""Workers to screen with: processes of this machine, or a Dask cluster that is already there."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster, WorkerPlugin
from distributed.security import Security

from mammofast.engine.on_device import card_index
from mammofast.errors import SchedulerError
from mammofast.screening.guest import guest

_REMEMBERED = 20
_CONFIG: dict[str, Any] = {
    # Results are small and go straight to the ledger, while networks and pinned buffers count as "unmanaged": Dask's
    # spilling and pausing would stop a worker for memory that Dask cannot free.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # A worker's death is dealt with here at once, image by image, instead of three more workers' deaths later.
    "distributed.scheduler.allowed-failures": 0,
    # Long kernels are no deadlock.
    "distributed.scheduler.worker-ttl": None,
    # What Dask would look at for a dashboard that nobody has: for one, each worker's stack, 100 times a second.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    # Of what was sent, whole tasks included, Dask remembers so much for each worker: of 64 workers it would be 4 GB.
    "distributed.admin.low-level-log-length": _REMEMBERED,
    # No result has a second copy that could be dropped.
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.worker.multiprocessing-method": "spawn",
    # Dask has glibc give back whatever is free, at once: page by page it comes again with the next image, a tenth of a
    # worker's time. These are what glibc comes to by itself, and one heap for a worker's one busy thread.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 64 << 20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 << 20,
    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
    # One worker is one core: libraries that start threads of their own would only take turns.
    "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 1,
    "distributed.nanny.pre-spawn-environ.OPENBLAS_NUM_THREADS": 1,
    "distributed.nanny.pre-spawn-environ.MKL_NUM_THREADS": 1,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}

# Any process may die while it is being started, or spoken to for the first time.
_CHANCES = 3
VISIBLE = "CUDA_VISIBLE_DEVICES"
# Threads of a worker with a card: its pipeline fills batches from what all of them bring.
_TASKS_PER_CARD = 4
_LOOPBACK: dict[str, Any] = {
    "host": "127.0.0.1",
    # Every user of the machine reaches loopback, and whoever speaks to a scheduler or a worker can run programs on it.
    "protocol": "tls://",
    # Dask opens its HTTP port in any case: on loopback, any that is free, with nothing on it.
    "dashboard_address": "127.0.0.1:0",
}


@contextmanager
def local_client(workers: int, cards: Sequence[str] = ()) -> Iterator[Client]:
    """Start worker processes on this machine, reachable from nowhere else and by nobody else.

    They know each other by a certificate of their own, made here, whose key is in these processes' memory alone.

    workers: how many, one thread each. cards: what ``CUDA_VISIBLE_DEVICES`` is for each worker instead, the card that
    it has to itself.

    Raises
    ------
    SchedulerError
        When they do not start.

    """
    with _quiet(), dask.config.set(_CONFIG):
        security = Security.temporary()
        for chance in reversed(range(_CHANCES)):
            try:
                cluster = _with_cards(cards, security) if cards else _without_cards(workers, security)
                break
            except (OSError, RuntimeError, TimeoutError) as error:
                if not chance:
                    raise SchedulerError(f"workers could not be started ({type(error).__name__})") from error
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


def visible_cards(count: int, device: str = "cuda") -> list[str]:
    """Return what ``CUDA_VISIBLE_DEVICES`` has to be for one worker a card.

    count: the cards that this process sees. device: "cuda" for all of them, "cuda:i" for one.
    """
    # This process may see some of the machine's cards only: numbers are counted among these.
    stated = os.environ.get(VISIBLE)
    names = [str(i) for i in range(count)] if stated is None else stated.split(",")[:count]
    return names if device == "cuda" else names[card_index(device) :][:1]


def _without_cards(workers: int, security: Security) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        scheduler_kwargs={"dashboard": False},
        silence_logs=logging.CRITICAL,
        security=security,
        **_LOOPBACK,
    )


def _with_cards(cards: Sequence[str], security: Security) -> SpecCluster:
    both = {"security": security, **_LOOPBACK}
    options = {"nthreads": _TASKS_PER_CARD, "silence_logs": logging.CRITICAL, **both}
    return SpecCluster(
        workers={
            number: {"cls": Nanny, "options": {**options, "env": {VISIBLE: card}}} for number, card in enumerate(cards)
        },
        scheduler={"cls": Scheduler, "options": {"port": 0, "dashboard": False, **both}},
        silence_logs=logging.CRITICAL,
        security=security,
    )


@dataclass(frozen=True, slots=True)
class Access:
    """How a cluster is spoken to. What is not given comes from Dask's configuration.

    tls_ca, tls_cert, tls_key: PEM files: who is trusted, who we are, and its key.
    insecure: whether an address in clear text may be another machine's.
    """

    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False

    def security(self, address: str) -> Security:
        """Return what Dask needs to know to connect.

        Raises
        ------
        SchedulerError
            When it would be in clear text to another machine: whoever can reach a scheduler can run programs on all its
            workers, and whoever is on the way can read and change what is said.

        """
        scheme, _, rest = address.rpartition("://")
        files = {"tls_ca_file": self.tls_ca, "tls_client_cert": self.tls_cert, "tls_client_key": self.tls_key}
        given = {name: str(path) for name, path in files.items() if path is not None}
        if scheme == "tls":
            security = Security(require_encryption=True, **given)
            if security.get_connection_args("client").get("ssl_context") is None:
                raise SchedulerError(
                    f"{address} wants to know who we are; give --tls-ca, --tls-cert and --tls-key, or name them in "
                    "Dask's configuration (distributed.comm.tls)"
                )
            return security
        if given:
            raise SchedulerError(f"TLS files were given, but {address} is not a tls:// address")
        if not (self.insecure or _is_loopback(rest)):
            raise SchedulerError(
                f"{address} is another machine, in clear text: anybody who reaches it can run programs there; use "
                "tls:// and --tls-ca, --tls-cert, --tls-key, or --insecure on a network that is yours alone"
            )
        return Security()


def _is_loopback(host_and_port: str) -> bool:
    host = urlsplit(f"//{host_and_port}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name: only this one is said to be this machine (RFC 6761)
        return host == "localhost"


@contextmanager
def remote_client(scheduler: str, run: str, access: Access) -> Iterator[Client]:
    """Connect to a scheduler, such as "tls://host:8786", for a run of this name, and leave it running afterwards.

    Raises
    ------
    SchedulerError
        When it does not answer, or must not be spoken to like this.

    """
    security = access.security(scheduler)
    with _quiet(), dask.config.set({"distributed.admin.low-level-log-length": _REMEMBERED}):
        try:
            client = Client(scheduler, set_as_default=False, security=security)
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            raise SchedulerError(
                f"no Dask scheduler answers us at {scheduler} ({type(error).__name__}); is one running there (`dask "
                "scheduler`), and does it trust our certificate where it has one?"
            ) from error
        with client, guest(client, run):
            yield client


def give_plugin(client: Client, plugin: WorkerPlugin, name: str) -> None:
    """Give all workers a plugin; one that dies just then ends nothing, the next in its place gets it too.

    Raises
    ------
    SchedulerError
        When workers die of it again and again, or the scheduler has gone.

    """
    for chance in reversed(range(_CHANCES)):
        try:
            client.register_plugin(plugin, name=name)
            return
        except (OSError, TimeoutError) as error:
            if not chance or client.status != "running":
                raise SchedulerError(f"the workers cannot be reached ({type(error).__name__})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log off the terminal: what matters of it reaches the ledger, or is raised."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado.application", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
