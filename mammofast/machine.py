"""What this machine is, and what it lets a program use."""

import os
import platform
from pathlib import Path
from typing import Any

_CPU_FIELDS = ("model name", "cpu family", "model", "stepping")


_SHARING = 1
_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """Return how many cores this process may use: what it is pinned to, where the system tells, else all there are.

    No more than its container allows. Processes that share them, see :func:`share_cores`, have an equal part each.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(there, int(core_quota() or there)) // _SHARING)


def share_cores(processes: int) -> None:
    """Say that this process and others, so many together, keep the same cores busy."""
    global _SHARING
    _SHARING = processes


def core_quota() -> float | None:
    """Return how many cores' time this process's control groups allow it; None where they set no limit."""
    limits = [
        int(quota) / int(period) for quota, period in (text.split() for text in _limits("cpu.max")) if quota.isdecimal()
    ]
    # Version 1 has a file for each of the two, -1 for no limit.
    quotas, periods = _limits("cpu.cfs_quota_us"), _limits("cpu.cfs_period_us")
    limits += [int(quota) / int(period) for quota, period in zip(quotas, periods, strict=False) if int(quota) > 0]
    return min(limits, default=None)


def memory_bytes() -> int:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_limit() -> int | None:
    """Return how many bytes this process's control groups allow it; None where they set no limit."""
    files = _limits("memory.max") + _limits("memory.limit_in_bytes")
    # Version 1 says a number that no machine has.
    return min((int(text) for text in files if text.isdecimal() and int(text) < memory_bytes()), default=None)


def available_memory() -> int:
    """Return how many bytes programs could have now without others being moved out of memory."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _limits(name: str) -> list[str]:
    """Return what a file of control groups says, of this process's and of all above it (cgroups(7)).

    In a container the path that the kernel tells may be the host's: then only the top is there, and it is the
    container's.
    """
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    found = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        root = _GROUPS / controllers if controllers else _GROUPS
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder == root.parent:
                break
            try:
                found.append((folder / name).read_text().strip())
            except OSError:
                continue
    return found


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
