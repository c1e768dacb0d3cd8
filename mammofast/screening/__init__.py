"""Driving a bundle over an archive, and the ledger of what came out.

Loaded when first used: reading results needs no Dask.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mammofast.screening.job import ScreenReport
    from mammofast.screening.ledger import Results, open_results
    from mammofast.screening.run import screen

_HOMES = {"Results": "ledger", "open_results": "ledger", "ScreenReport": "job", "screen": "run"}

__all__ = ["Results", "ScreenReport", "open_results", "screen"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mammofast.screening.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mammofast.screening' has no attribute {name!r}")
