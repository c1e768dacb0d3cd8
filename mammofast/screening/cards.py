"""A card for each worker process of a machine where nobody gave it one: who is first has it, until the process ends."""

import fcntl
import os
import tempfile
from pathlib import Path

from mammofast.engine.driver import card_count, card_id
from mammofast.engine.on_device import card_index
from mammofast.errors import EngineError

# Locked files, which the system unlocks when this process ends, however it ends; by number of the card.
_CLAIMED: dict[int, int] = {}


def claim_card(device: str) -> str:
    """Return "cuda:i", a card that this process has to itself among the workers of its user on this machine.

    Cards are those that ``CUDA_VISIBLE_DEVICES`` lets this process see. A process that has one keeps it for later runs.

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
    file = os.open(_folder() / identity, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    _CLAIMED[index] = file
    return True


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"mammofast-cards-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise EngineError(f"{folder} is another user's: cards cannot be told apart; remove it, or set TMPDIR")
    return folder
