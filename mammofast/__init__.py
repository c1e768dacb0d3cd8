"""Batch inference for breast-imaging CAD: DICOM archive in, findings and native-resolution masks out.

Everything public is loaded when first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mammofast.evaluation as evaluation
    import mammofast.ops as ops
    from mammofast.archive import open_archive
    from mammofast.methods.screener import Screener, open_bundle
    from mammofast.records import Finding, ImageResult
    from mammofast.screening import open_results

__version__ = "0.1.0"

_HOMES = {
    "Finding": "mammofast.records",
    "ImageResult": "mammofast.records",
    "Screener": "mammofast.methods.screener",
    "open_archive": "mammofast.archive",
    "open_bundle": "mammofast.methods.screener",
    "open_results": "mammofast.screening",
}
_MODULES = ("evaluation", "ops")

__all__ = [
    "Finding",
    "ImageResult",
    "Screener",
    "__version__",
    "evaluation",
    "open_archive",
    "open_bundle",
    "open_results",
    "ops",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mammofast.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mammofast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
