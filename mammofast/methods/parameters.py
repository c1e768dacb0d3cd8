"""Turning a manifest's ``parameters`` into a method's own record."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from mammofast.errors import BundleError

T = TypeVar("T")


def read_parameters(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build the dataclass ``kind`` from JSON values: no entry unknown, none missing, lists as tuples.

    Raises
    ------
    BundleError
        When an entry is unknown or missing, or the dataclass refuses a value (ValueError or TypeError).

    """
    expected = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := set(values) - set(expected):
        raise BundleError(f"{where}: unknown entries {sorted(unknown)}; expected {sorted(expected)}")
    needed = {name for name, f in expected.items() if f.default is MISSING and f.default_factory is MISSING}
    if missing := needed - set(values):
        raise BundleError(f"{where}: missing entries {sorted(missing)}")
    try:
        return kind(**{name: _frozen(value) for name, value in values.items()})
    except (TypeError, ValueError) as error:
        raise BundleError(f"{where}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
