"""Several engines over one network's weights, so that one copies while another computes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue

from mammofast.engine.on_device import DeviceEngine, Shape


class Lanes:
    """Engines over one network's weights; each serves one call at a time.

    engine: the first one. count: of all. shapes: of their inputs, prepared at once: by then all that they will take of
    the card is taken, and no call has to wait for kernels to be compiled.
    """

    def __init__(self, engine: DeviceEngine, count: int, shapes: Sequence[Mapping[str, Shape]] = ()) -> None:
        shared: list[DeviceEngine] = []
        with ExitStack() as made:
            for _ in range(count - 1):
                shared.append(made.enter_context(engine.share()))
            self.engines = (engine, *shared)
            for each in self.engines:
                with each.watched():
                    for shape in shapes:
                        each.buffers(shape)
            self._made = made.pop_all()
        self._free: SimpleQueue[DeviceEngine] = SimpleQueue()
        for each in self.engines:
            self._free.put(each)

    @contextmanager
    def one(self) -> Iterator[DeviceEngine]:
        """Lend an engine that nobody else uses, until its stream has come to its end.

        Raises
        ------
        DeviceLostError
            See :meth:`DeviceEngine.watched`.

        """
        engine = self._free.get()
        try:
            with engine.watched():
                yield engine
                engine.synchronize()
        finally:
            self._free.put(engine)

    @property
    def nbytes(self) -> int:
        """What they take of the card together."""
        return self.engines[0].memory.weights + sum(each.memory.context for each in self.engines)

    def close(self) -> None:
        """Close the engines made here; the first one is its owner's."""
        self._made.close()
