"""Files worked on side by side, a bounded number of them, and what becomes of each in their own order."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mammofast.archive.sources import SourceFile
from mammofast.errors import PacsError

T = TypeVar("T")


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[SourceFile], T], files: Iterator[SourceFile], most: int, most_bytes: int
) -> Iterator[tuple[SourceFile, T]]:
    """Work on at most so many files, of so many bytes, at a time; yield what comes of each in the files' order.

    Raises
    ------
    PacsError
        When the files' source ends early; after what has come was worked on to its end.

    """
    window: deque[tuple[SourceFile, Future[T]]] = deque()
    in_flight = 0
    ended_early: PacsError | None = None
    while True:
        try:
            file = next(files)
        except StopIteration:
            break
        except PacsError as error:
            ended_early = error
            break
        while window and (len(window) >= most or in_flight + file.size > most_bytes):
            first, future = window.popleft()
            in_flight -= first.size
            yield first, future.result()
        window.append((file, pool.submit(work, file)))
        in_flight += file.size
    while window:
        first, future = window.popleft()
        yield first, future.result()
    if ended_early is not None:
        raise ended_early
