"""A card for each worker process of a machine where nobody gave it one: who is first has it, until the process ends."""

import errno
import os
import socket
from contextlib import ExitStack

from mammofast.engine.driver import card_count, card_id
from mammofast.engine.on_device import card_index
from mammofast.errors import EngineError

# Sockets that nobody speaks to, bound to a card's name, by number of the card. Linux knows such a name whatever file
# systems a process sees, a service with a /tmp of its own too, and forgets it when the process ends, however it ends.
_CLAIMED: dict[int, socket.socket] = {}


def claim_card(device: str) -> str:
    """Return "cuda:i", a card that this process has to itself among the workers of its user on this machine.

    Cards are those that ``CUDA_VISIBLE_DEVICES`` lets this process see. A process that has one keeps it for later runs.
    A container with a network of its own counts as a machine of its own.

    Parameters
    ----------
    device: "auto" or "cuda" for any of them, "cuda:i" for one.

    Raises
    ------
    EngineError
        When other workers have them all, or there is none.

    """
    cards = [card_index(device)] if ":" in device else [*_CLAIMED, *range(card_count())]
    for index in cards:
        if index in _CLAIMED or _claim(index):
            return f"cuda:{index}"
    raise EngineError(
        f"device {device!r}: each of the {card_count()} NVIDIA cards that this worker sees is another worker's, and "
        "two would take each other's memory; start as many workers on this machine as it has cards, or give each its "
        "own by CUDA_VISIBLE_DEVICES, as dask-cuda does"
    )


def _claim(index: int) -> bool:
    """Take a card, unless another process has it."""
    identity = card_id(index)
    if identity is None:
        return False
    with ExitStack() as closed:
        try:
            name = closed.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            name.bind(f"\0mammofast-card-{os.getuid()}-{identity}")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise EngineError(f"cards cannot be told apart: no name can be taken here ({error})") from error
        closed.pop_all()
    _CLAIMED[index] = name
    return True
