"""Recipes as TOML, one file for each of the papers' systems: read, laid over one another, and changed.

The tables ``network``, ``training``, ``loss``, ``optimizer``, ``schedule``, ``augmentation`` and ``examples`` hold for
every stage, and a stage may restate entries of them. ``base`` names a recipe whose entries hold where the file says
nothing else.
"""

import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from mammofast.errors import TrainingError
from mammofast.training.recipe import Recipe, Stage
from mammofast.training.tables import read_table

_NAMED = ("loss", "optimizer", "schedule")
_SHARED = ("network", *_NAMED, "training", "augmentation", "examples")


def recipes() -> list[str]:
    """Return the names of the recipes that come with mammofast."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files("mammofast.training").joinpath("recipes").iterdir()
        if entry.name.endswith(".toml")
    )


def read_recipe(recipe: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe: one that comes with mammofast, by its name, or a file that ends in .toml.

    changes: entries to set otherwise, see :func:`changed`.

    Raises
    ------
    TrainingError
        When there is no such recipe, it is no TOML, or an entry is unknown, missing or refused.

    """
    name = Path(recipe).name.removesuffix(".toml")
    return from_tables(name, changed(_tables(recipe), changes or {}))


def _tables(recipe: str | Path, derived: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a file's tables, laid over those of its ``base``, where it names another recipe as that."""
    path = Path(recipe)
    name = path.name.removesuffix(".toml")
    try:
        if path.suffix == ".toml":
            text = path.read_text(encoding="utf-8")
        else:
            text = files("mammofast.training").joinpath("recipes", f"{recipe}.toml").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = get_close_matches(str(recipe), recipes(), n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ";"
        raise TrainingError(f"no recipe is called {str(recipe)!r}{hint} `mammofast train --list` lists them") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"recipe {name!r}: cannot be read ({type(error).__name__})") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"recipe {name!r}: is no TOML: {error}") from error
    base = tables.pop("base", None)
    if base is None:
        return tables
    if not isinstance(base, str) or base in (*derived, name):
        raise TrainingError(f"recipe {name!r}: base: got {base!r}, expected another recipe's name")
    return _laid_over(_tables(base, (*derived, name)), tables)


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with entries of their own; a table is laid over a table, all else takes its place."""
    both = {
        key: _laid_over(base[key], own[key])
        for key in set(base) & set(own)
        if isinstance(base[key], Mapping) and isinstance(own[key], Mapping)
    }
    return {**base, **own, **both}


def changed(tables: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's tables with entries set otherwise.

    changes: values by dotted key, such as ``{"loss.name": "dice", "training.epochs": 2}``. One of a shared table holds
    for every stage, whatever a stage had restated; ``stages.NAME.KEY`` is one stage's. None takes an entry away.
    """
    new = deepcopy(dict(tables))
    for key, value in changes.items():
        parts = key.split(".")
        if parts[0] == "stages" and len(parts) > 2:
            for stage in new.get("stages", []):
                if stage.get("name") == parts[1]:
                    _set(stage, parts[2:], value)
                    break
            else:
                raise TrainingError(f"change {key!r}: the recipe has no stage {parts[1]!r}")
            continue
        _set(new, parts, value)
        for stage in new.get("stages", []) if parts[0] in _SHARED else ():
            _set(stage, parts, None)
    return new


def from_tables(name: str, tables: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a name from its tables.

    Raises
    ------
    TrainingError
        When an entry is unknown, missing or refused.

    """
    where = f"recipe {name!r}"
    shared = {key: tables[key] for key in _SHARED if key in tables}
    rest = {key: value for key, value in tables.items() if key not in (*_SHARED, "stages")}
    listed = tables.get("stages", [{"name": "train"}])
    if not isinstance(listed, list) or not all(isinstance(stage, Mapping) for stage in listed):
        raise TrainingError(f"{where}: stages: expected [[stages]] tables")
    stages = tuple(read_table(Stage, _merged(shared, stage), f"{where}: {_title(stage)}") for stage in listed)
    if reserved := {"name", "source"} & set(rest):
        raise TrainingError(f"{where}: got unknown entries {sorted(reserved)}; the file's name is the recipe's")
    return read_table(Recipe, {**rest, "name": name, "stages": stages, "source": dict(tables)}, where)


def _merged(shared: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's tables: the shared ones, but for what it restates; a loss, an optimizer or a schedule of
    another name brings a table of its own.
    """
    merged = {**deepcopy(dict(shared)), **{key: value for key, value in stage.items() if key not in _SHARED}}
    for key in set(stage) & set(_SHARED):
        own, base = stage[key], shared.get(key, {})
        if not isinstance(own, Mapping):
            raise TrainingError(f"stage {stage.get('name')!r}: {key}: got {own!r}, expected a table")
        another = key in _NAMED and "name" in own and own["name"] != base.get("name")
        merged[key] = dict(own) if another else {**base, **own}
    return merged


def _set(table: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    """Set or, with None, take away what a dotted key names."""
    *way, last = parts
    for part in way:
        if value is None and part not in table:
            return
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise TrainingError(f"change {'.'.join(parts)!r}: {part!r} is no table of the recipe")
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value


def _title(stage: Mapping[str, Any]) -> str:
    return f"stage {stage.get('name')!r}"
