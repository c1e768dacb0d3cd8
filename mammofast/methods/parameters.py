"""Turning a manifest's ``parameters`` into a method's own record."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from sys import float_info
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


def as_record(kind: type[T], value: object, name: str) -> T:
    """Return the dataclass ``kind`` of a parameter that is one already, or a manifest's object for it.

    Raises
    ------
    ValueError
        When it is neither, or ``kind`` refuses an entry (TypeError where there is no such one).

    """
    if isinstance(value, Mapping):
        return kind(**value)
    if not isinstance(value, kind):
        raise ValueError(f"{name}: got {value!r}, expected an object")
    return value


def is_number(value: object) -> bool:
    """Whether this is a finite number. JSON's true and false, which Python counts as 1 and 0, are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= float_info.max


def is_whole(value: object) -> bool:
    """Whether this is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
