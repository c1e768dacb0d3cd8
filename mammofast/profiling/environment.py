"""Where something was measured: commit, machine, load and versions, without a host's or a user's name."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from mammofast import __version__
from mammofast.machine import about

_SOURCE = Path(__file__).parents[2]


def environment(packages: Iterable[str]) -> dict[str, Any]:
    """Return what a measurement depends on.

    packages: distributions whose versions matter; those that are not installed are left out. ``commit`` is None where
    mammofast does not run from its source tree.
    """
    return {
        "mammofast": __version__,
        **_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **about(),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": dict(_versions(packages)),
    }


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in sorted(packages):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _commit() -> dict[str, Any]:
    if not (_SOURCE / ".git").exists():
        return {"commit": None, "uncommitted_changes": []}
    status = _git("status", "--porcelain", "--", "mammofast", "csrc", "setup.py")
    return {"commit": _git("rev-parse", "HEAD"), "uncommitted_changes": [line[3:] for line in status.splitlines()]}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_SOURCE, capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.rstrip()
