"""What a run asks of a scheduler that is not its own, and takes away again when it ends, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, SchedulerPlugin

from mammofast.errors import SchedulerError
from mammofast.screening.task import results_topic


class Guest(SchedulerPlugin):  # type: ignore[misc]
    """Looks after one run's tasks, and clears up after a client that was killed.

    A task comes back as soon as a worker dies that held it, for us to find out which image did it. Left alone, Dask
    hands it to worker after worker, until ``allowed-failures`` + 1 of them have died. Other people's tasks are left
    alone. Of the run's results, which pass as events, it keeps none.

    run: its name; what the keys of its tasks begin with, and its worker plugin's name. client: the id of who runs it.
    """

    def __init__(self, run: str, client: str) -> None:
        self.name = f"guest-{run}"
        self._run = run
        self._client = client
        self._scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        """Take hold of the scheduler."""
        self._scheduler = scheduler

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Give a task that goes to a worker no other chance."""
        if finish == "processing" and str(key).startswith(self._run):
            self._scheduler.tasks[key].suspicious = self._scheduler.allowed_failures

    def log_event(self, topic: str, msg: Any) -> None:
        """Forget a result that has just been sent on."""
        if topic == results_topic(self._run):
            self._scheduler._broker.truncate(topic)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Leave with the client: the bundle that its run has open on every worker would stay for ever."""
        if client == self._client:
            scheduler.loop.add_callback(self._leave)

    async def _leave(self) -> None:
        if self._run in self._scheduler.worker_plugins:
            await self._scheduler.unregister_worker_plugin(None, self._run)
        if self.name in self._scheduler.plugins:
            self._scheduler.remove_plugin(self.name)


@contextmanager
def guest(client: Client, run: str) -> Iterator[None]:
    """Be a scheduler's guest within the block.

    Raises
    ------
    SchedulerError
        When it has no mammofast, or lets nobody extend it.

    """
    plugin = Guest(run, client.id)
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
