"""Which phases of a volume results are shown on."""

from collections.abc import Mapping
from typing import Any


def subtraction(summary: Mapping[str, Any]) -> tuple[int, int]:
    """Return the phase in which a run's bundle looks for candidates, and the one that is taken from it.

    summary: of :meth:`mammofast.screening.Results.runs`. Phases count from 0, the baseline; negative from the last one.
    Where the bundle does not say it is the first phase after the baseline, and the baseline.
    """
    try:
        channel = summary["parameters"]["detection"]["channels"][0]
        return int(channel["phase"]), int(channel.get("minus") or 0)
    except (KeyError, IndexError, TypeError, ValueError):
        return 1, 0
