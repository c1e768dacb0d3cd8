"""Images cut into tasks: what goes to a worker together."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mammofast.archive import Unit
from mammofast.screening.task import packed, unpacked

# What the caller knows an image by.
Name = Any

# What a task's images or volumes decode to, at most, unless it is one: 157 images of 4096 x 3328. In flight is twice
# that a thread.
TASK_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Task:
    """Images that go to a worker together.

    Tens of thousands are in flight, and Python's garbage collector looks through all that they hold, over and over:
    nothing of them is kept but their names and bytes.

    content: the images, packed. time_units: how many images' time they may take, together.
    alone: how often they were sent to be screened in a process of their own. others: how many tasks had ended well when
    they, or those that they were together with, were first suspected. future, sent: once they are under way.
    """

    names: list[Name]
    content: bytes
    time_units: int
    alone: int = 0
    others: int | None = None
    future: Any = None
    sent: float = field(default=0.0, compare=False)

    @classmethod
    def of(cls, units: list[tuple[Unit, Name]]) -> "Task":
        """Pack images."""
        images = [image for image, _ in units]
        return cls([name for _, name in units], packed(images), sum(image.record.time_units for image in images))

    def units(self) -> Iterator[tuple[Unit, Name]]:
        """Unpack images."""
        return zip(unpacked(self.content), self.names, strict=True)


def cut(images: Iterator[tuple[Unit, Name]], size: int) -> Iterator[Task]:
    """Cut images into tasks of at most so many, and of bounded bytes."""
    units: list[tuple[Unit, Name]] = []
    total = 0
    for unit in images:
        decoded = unit[0].record.nbytes
        if units and (len(units) == size or total + decoded > TASK_BYTES):
            yield Task.of(units)
            units, total = [], 0
        units.append(unit)
        total += decoded
    if units:
        yield Task.of(units)
