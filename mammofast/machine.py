"""What this machine lets a program use."""

import os


def cores() -> int:
    """Return how many cores this process may use: what it is pinned to, where the system tells, else all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
