"""What the card's memory can do at most: a large copy, and one that stays in the cache."""

from dataclasses import dataclass

from mammofast.profiling.device.card import Card
from mammofast.profiling.device.timing import stream_times
from mammofast.profiling.sampling import Effort
from mammofast.profiling.statistics import percentile

COPY_BYTES = 1 << 30
# Of the second-level cache: what is read and what is written stay in it side by side, with room to spare.
_L2_PART = 4
# A working set so many times the cache cannot be served from it.
BEYOND_L2 = 3
_EFFORT = Effort(warm_up=0.05, seconds=0.2)


@dataclass(frozen=True, slots=True)
class CopyRates:
    """Bytes per second, read and written counted both, of copies within a card. l2_bytes: of its cache."""

    memory: float
    l2: float
    l2_bytes: int

    def is_in_l2(self, working_set: int) -> bool:
        """Whether inputs and outputs of so many bytes, used again and again, may come out of the cache."""
        return working_set < BEYOND_L2 * self.l2_bytes

    def calibration(self) -> dict[str, float | None]:
        """Return what a record says of the card."""
        return {"copy_gb_per_s": self.memory / 1e9, "l2_copy_gb_per_s": self.l2 / 1e9}


def copy_rates(card: Card) -> CopyRates | None:
    """Measure both copies; None of a card that is emulated."""
    if card.emulated:
        return None
    sizes = {"memory": COPY_BYTES, "l2": card.l2_bytes // _L2_PART}
    calls = {name: [card.copying(size)] for name, size in sizes.items()}
    samples, _ = stream_times(card, calls, _EFFORT)
    rates = {name: 2 * size / percentile(sorted(samples[name]), 50) for name, size in sizes.items()}
    return CopyRates(rates["memory"], rates["l2"], card.l2_bytes)
