"""Which software a run was made with: said beside the results, and part of no id."""

from collections.abc import Iterable
from importlib import metadata

from mammofast import __version__


def software_versions(backends: Iterable[str]) -> dict[str, str]:
    """Return the versions, on this machine, of what can change a bit of a result.

    backends: what runs the bundle's networks, by the name of its Python package.
    """
    return {"mammofast": __version__, **{name: _version(name) for name in sorted({"numpy", *backends})}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # built by hand, or under another name
        return "unknown"
