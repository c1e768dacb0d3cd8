"""What a scheduler is asked to do for the tasks of one run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, SchedulerPlugin

from mammofast.errors import SchedulerError


class BlameAtOnce(SchedulerPlugin):  # type: ignore[misc]
    """Give a run's tasks back as soon as a worker dies that held them, for us to find out which did it.

    Left alone, Dask hands such a task to worker after worker, until ``allowed-failures`` + 1 of them have died. Other
    people's tasks on the same cluster are left alone. run: what the keys of our tasks begin with.
    """

    def __init__(self, run: str) -> None:
        self.name = f"blame-{run}"
        self._run = run
        self._scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        """Take hold of the scheduler."""
        self._scheduler = scheduler

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Give a task that goes to a worker no other chance."""
        if finish == "processing" and str(key).startswith(self._run):
            self._scheduler.tasks[key].suspicious = self._scheduler.allowed_failures


@contextmanager
def blaming_at_once(client: Client, run: str) -> Iterator[None]:
    """Have a scheduler do so within the block.

    Raises
    ------
    SchedulerError
        When it cannot: it has no mammofast, or allows nobody to extend it.

    """
    plugin = BlameAtOnce(run)
    try:
        client.register_plugin(plugin)
    except Exception as error:  # whatever loading it there gives
        raise SchedulerError(
            f"the Dask scheduler cannot load mammofast ({type(error).__name__}); install there what its workers have, "
            "and leave its setting distributed.scheduler.pickle on"
        ) from error
    try:
        yield
    finally:
        if client.status == "running":
            client.unregister_scheduler_plugin(plugin.name)
