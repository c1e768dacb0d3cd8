"""A pipeline in one thread: the same stages, batches and faults, nothing at the same time."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mammofast.pipeline.board import Board
from mammofast.pipeline.stage import Stage
from mammofast.pipeline.tickets import Outcome


def run_serially(stages: Sequence[Stage], images: Iterable[Any]) -> Iterator[Outcome]:
    """Send images through in this thread and yield what became of each, as they are done.

    Early stages go first, so that batches are full, as far as the stages' room goes: memory is bounded by that.
    """
    board = Board(stages)
    run = board.open()
    for index, image in enumerate(images):
        board.offer(board.ticket(run, index, image))
        while run.offered is not None:
            _work(board)
        while run.outcomes:
            yield run.outcomes.popleft()
    run.exhausted = True
    while run.left:
        _work(board)
        while run.outcomes:
            yield run.outcomes.popleft()


def _work(board: Board) -> None:
    """Run the earliest stage's next task."""
    task = next(task for number in range(len(board.stages)) if (task := board.task(number)) is not None)
    for ticket in board.finish(task.run()):
        board.moved(ticket, board.step(ticket))
