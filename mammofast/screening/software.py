"""Which software a run was made with: said beside the results, and part of no id."""

import platform
from collections.abc import Iterable
from importlib import metadata

from mammofast import __version__


def software_versions(backends: Iterable[str]) -> dict[str, str]:
    """Return the versions, on this machine, of what can change a bit of a result.

    backends: what runs the bundle's networks, by the name of its Python package.
    """
    return {"mammofast": __version__, **{name: _version(name) for name in sorted({"numpy", *backends})}}


def scheduling_versions() -> dict[str, str]:
    """Return the versions of what else takes part in a run: they may change how long it takes, and no result."""
    packages = ("dask", "distributed", "pydicom", "tensorstore")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # built by hand, or under another name
        return "unknown"
