"""Tables of a TOML file as records: no entry unknown, none missing, each of its type."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from mammofast.errors import TrainingError

T = TypeVar("T")


def read_table(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build the dataclass ``kind`` from a table; a ValueError of its own becomes an error that says where.

    Parameters
    ----------
    kind: a dataclass of bool, int, float, str, tuples of these, mappings and dataclasses, each perhaps or None.
    values: the table. where: what an error calls it, such as "recipe 'p2-aunet': optimizer".

    Raises
    ------
    TrainingError
        When an entry is unknown, missing, of another type, or refused.

    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise TrainingError(f"{where}: got unknown entries {unknown}; expected some of {sorted(known)}")
    needed = {name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(needed - set(values)):
        raise TrainingError(f"{where}: lacks {missing}")
    hints = get_type_hints(kind)
    read = {name: _typed(value, hints[name], f"{where}: {name}") for name, value in values.items()}
    try:
        return kind(**read)
    except ValueError as error:
        raise TrainingError(f"{where}: {error}") from error


def _typed(value: Any, hint: Any, where: str) -> Any:
    """Return a value as what a hint asks for: arrays become tuples, whole numbers floats, tables dataclasses."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (hint,) = (one for one in inner if one is not NoneType)
        return None if value is None else _typed(value, hint, where)
    if isinstance(hint, type) and is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if isinstance(value, Mapping):
            return read_table(hint, value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        each = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
        if len(each) == len(value):
            return tuple(_typed(one, kind, where) for one, kind in zip(value, each, strict=True))
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif type(value) is hint or (origin is Mapping and isinstance(value, Mapping)):
        return value
    raise TrainingError(f"{where}: got {value!r}, expected {_in_words(hint)}")


def _in_words(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
