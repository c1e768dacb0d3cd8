"""What images hold while they are on their way: bytes of a budget, buffers of a pool. Both are given back once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol


class Lease:
    """Something an image holds. value: the buffer, or the number of bytes."""

    __slots__ = ("_back", "value")

    def __init__(self, value: Any, back: Callable[[Any], None]) -> None:
        self.value = value
        self._back: Callable[[Any], None] | None = back

    def give_back(self) -> None:
        """Give it back.

        Raises
        ------
        RuntimeError
            When it was given back before: somebody else may hold it by now.

        """
        if self._back is None:
            raise RuntimeError("lease: given back twice, expected once")
        back, self._back = self._back, None
        back(self.value)


class Supply(Protocol):
    """What images take from before they enter."""

    @property
    def name(self) -> str:
        """What it is called in traces."""

    @property
    def taken(self) -> int:
        """How much is held now."""

    def suffices(self, amount: int) -> bool:
        """Whether an image that needs this much could be served at all."""

    def take(self, amount: int) -> Lease | None:
        """Return a lease, or None while too little is left; it never waits."""


class Budget:
    """Bytes of a device's memory that images may hold together; a pipeline asks for them under its own lock.

    total: what is left for images once networks, their workspaces and buffers that stay have theirs.
    """

    def __init__(self, total: int, name: str = "device memory") -> None:
        if total < 0:
            raise ValueError(f"total: got {total} bytes, expected 0 or more")
        self.total = total
        self.name = name
        self.taken = 0
        self.peak = 0

    def suffices(self, amount: int) -> bool:
        """Whether so many bytes are there when nobody holds any."""
        return amount <= self.total

    def take(self, amount: int) -> Lease | None:
        """Return a lease of so many bytes, or None while fewer are left."""
        if amount < 0:
            raise ValueError(f"amount: got {amount} bytes, expected 0 or more")
        if self.taken + amount > self.total:
            return None
        self.taken += amount
        self.peak = max(self.peak, self.taken)
        return Lease(amount, self._back)

    def _back(self, amount: int) -> None:
        self.taken -= amount


class Pool:
    """A fixed number of buffers, say of pinned memory: each image holds one, whatever it states to need."""

    def __init__(self, buffers: Iterable[Any], name: str = "pinned buffers") -> None:
        self._free = list(buffers)
        if not self._free:
            raise ValueError("buffers: got none, expected at least one")
        self.size = len(self._free)
        self.name = name

    @property
    def taken(self) -> int:
        """How many are held now."""
        return self.size - len(self._free)

    def suffices(self, amount: int) -> bool:
        """Whether there are buffers at all."""
        return True

    def take(self, amount: int = 1) -> Lease | None:
        """Return a lease whose value is a buffer, or None while all are held."""
        return Lease(self._free.pop(), self._free.append) if self._free else None


def _one(image: Any) -> int:
    return 1


@dataclass(frozen=True, slots=True)
class Hold:
    """What an image takes before it enters and gives back when it leaves, or leaves a stage before that.

    All of an image's holds are taken at once or none is, and no stage asks for more: nobody ever waits for somebody who
    waits. supply: a budget or a pool. amount: how much an image needs. until: the name of the last stage that needs it;
    None for the last of all.
    """

    supply: Supply
    amount: Callable[[Any], int] = _one
    until: str | None = None
