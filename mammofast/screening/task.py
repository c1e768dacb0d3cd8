"""What Dask passes about: two functions and bytes, there and back.

A scheduler imports what the functions of its tasks are in. These import what they need when a worker calls them, so
that no scheduler holds engines and codecs.
"""

import pickle
from collections.abc import Sequence
from typing import Any

# Of an image: its status, what to record, and what it took its worker in seconds, where known.
Result = tuple[str, bytes, float | None]


def packed(things: Sequence[Any]) -> bytes:
    """Return a list as a task, or its result, carries it.

    Dask would take a list apart, on every machine that it passes, and send each of its parts by itself.
    """
    return pickle.dumps(things, protocol=5)


def unpacked(content: bytes) -> list[Any]:
    """Return what ``packed`` packed, in a program of this run."""
    found: list[Any] = pickle.loads(content)  # noqa: S301 - as all that Dask brings
    return found


def results_topic(name: str) -> str:
    """Return the topic under which the workers of a run of this name say what came of its tasks.

    Of a task the scheduler gets its key and what it returned, as an event, in the same message that says that it has
    ended, and sends them on to whoever listens. To fetch a result instead takes a call to the scheduler and one from
    there to the worker, each of them as dear as all else that Dask does for a task, and until then only that worker has
    it.
    """
    return f"{name}-results"


def screen_task(task: bytes, name: str, deadline: float) -> bytes:
    """Screen images; return the ``Result`` of each, packed.

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


def screen_alone(task: bytes, name: str, deadline: float) -> bytes:
    """Screen images that are suspected of a worker's death, each in a process of its own; return as ``screen_task``."""
    from mammofast.screening.alone import screen_each_alone

    return packed(screen_each_alone(name, unpacked(task), deadline))
