"""What this machine is, and what it lets a program use."""

import os
import platform
from pathlib import Path
from typing import Any

_CPU_FIELDS = ("model name", "cpu family", "model", "stepping")


_SHARING = 1


def cores() -> int:
    """Return how many cores this process may use: what it is pinned to, where the system tells, else all there are.

    Processes that share them, see :func:`share_cores`, have an equal part each.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, there // _SHARING)


def share_cores(processes: int) -> None:
    """Say that this process and others, so many together, keep the same cores busy."""
    global _SHARING
    _SHARING = processes


def memory_bytes() -> int:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cpu() -> dict[str, str]:
    """Return what tells one processor from another: hypervisors hide parts of the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {"model name": platform.processor()}
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {name: found.get(name, "?") for name in _CPU_FIELDS}


def about() -> dict[str, Any]:
    """Return what a run may depend on, without a host's or a user's name."""
    return {
        "cpu": cpu(),
        "cores": cores(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "kernel": platform.release(),
    }
