"""Cards that this process has lost: CUDA answers every later call with the same error, or with none, for good.

Only another process can use such a card again.
"""

from mammofast.errors import DeviceLostError

_LOST: set[int] = set()


def is_lost(card: int) -> bool:
    """Whether a card was lost, by its number in this process."""
    return card in _LOST


def lose(card: int, why: object) -> DeviceLostError:
    """Leave a card alone from here on, and return what to raise. why: CUDA's words, or ours; no image's."""
    _LOST.add(card)
    return DeviceLostError(
        f"card {card} is lost to this process ({why}); end the process and start it again. If it is lost again, look "
        "for Xid in the kernel's log (dmesg) and at nvidia-smi"
    )
