"""Keys of state dicts: which may be missing, and how a message tells of many."""

from collections.abc import Sequence

# Batch normalization's; PyTorch before 0.4.1 kept none, and nothing but a momentum of None ever reads it.
COUNTER = "num_batches_tracked"


def some(keys: Sequence[str], shown: int = 3) -> str:
    """Return the first keys and how many more there are; "none" for none."""
    if not keys:
        return "none"
    return ", ".join(keys[:shown]) + (f" and {len(keys) - shown} more" if len(keys) > shown else "")
