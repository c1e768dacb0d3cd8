"""What Dask passes about: two functions and bytes.

A scheduler imports what the functions of its tasks are in. These import what they need when a worker calls them, so
that no scheduler holds engines and codecs.
"""

import pickle
from collections.abc import Sequence
from typing import Any


def packed(things: Sequence[Any]) -> bytes:
    """Return a list as a task, or its result, carries it.

    Dask would take a list apart, on every machine that it passes, and send each of its parts by itself.
    """
    return pickle.dumps(things, protocol=5)


def unpacked(content: bytes) -> list[Any]:
    """Return what ``packed`` packed, in a program of this run."""
    found: list[Any] = pickle.loads(content)  # noqa: S301 - as all that Dask brings
    return found


def screen_task(name: str, task: bytes, deadline: float) -> bytes:
    """Screen images; return (status, what to record, seconds) for each, packed.

    task: the images, packed. deadline: seconds for an image. A task that takes longer than its images may ends its
    worker.
    seconds: the task's, shared by its images: a method may work on several at once.

    Raises
    ------
    EngineError
        When the worker has no bundle open for the run of this name.

    """
    from mammofast.screening.worker import screen_together

    return packed(screen_together(name, unpacked(task), deadline))


def screen_alone(name: str, task: bytes, deadline: float) -> bytes:
    """Screen images that are suspected of a worker's death, each in a process of its own; return as ``screen_task``."""
    from mammofast.screening.alone import screen_each_alone

    return packed(screen_each_alone(name, unpacked(task), deadline))
