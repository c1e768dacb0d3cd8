"""Workers to screen with: processes of this machine, or a Dask cluster that is already there."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster

from mammofast.errors import SchedulerError

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
    "distributed.worker.multiprocessing-method": "spawn",
    # One worker is one core: libraries that start threads of their own would only take turns.
    "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 1,
    "distributed.nanny.pre-spawn-environ.OPENBLAS_NUM_THREADS": 1,
    "distributed.nanny.pre-spawn-environ.MKL_NUM_THREADS": 1,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


@contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """Start worker processes on this machine, one thread each, reachable from nowhere else.

    Raises
    ------
    SchedulerError
        When they do not start.

    """
    with _quiet(), dask.config.set(_CONFIG):
        try:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                # Dask opens its HTTP port in any case: on loopback, any that is free, with nothing on it.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                silence_logs=logging.CRITICAL,
            )
        except (OSError, RuntimeError, TimeoutError) as error:
            raise SchedulerError(f"workers could not be started ({type(error).__name__})") from error
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


@contextmanager
def remote_client(scheduler: str) -> Iterator[Client]:
    """Connect to a scheduler, such as "tcp://host:8786", and leave it running afterwards.

    Raises
    ------
    SchedulerError
        When it does not answer.

    """
    with _quiet():
        try:
            client = Client(scheduler, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise SchedulerError(
                f"no Dask scheduler answers at {scheduler} ({type(error).__name__}); start one with `dask scheduler`"
            ) from error
        with client:
            yield client


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
