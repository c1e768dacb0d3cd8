"""Findings and images as tables that other programs read: CSV, Parquet, JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from mammofast.errors import ResultsError
from mammofast.screening import open_results

NOTICE = "NOTICE.txt"


def write_tables(results: str | Path, out: str | Path, form: str) -> list[Path]:
    """Write ``findings`` and ``images`` to files; beside them NOTICE.txt where a bundle has words that must go along.

    Parameters
    ----------
    results: a results folder. out: a folder, made where it is missing.
    form: "csv" (nothing where a value is null), "parquet", or "json" (a list of objects).

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ResultsError
        When ``results`` is no results folder, or ``out`` cannot be written.

    """
    if form not in _WRITERS:
        raise ValueError(f"form: got {form!r}, expected one of {sorted(_WRITERS)}")
    opened, folder = open_results(results), Path(out)
    tables = {"findings": opened.findings(), "images": opened.images()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [_write(table, folder / f"{name}.{form}", form) for name, table in tables.items()]
        if notices := opened.notices():
            (folder / NOTICE).write_text("\n".join(notices) + "\n", encoding="utf-8")
            written.append(folder / NOTICE)
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be written ({error.strerror})") from error
    return written


def _write(table: pa.Table, path: Path, form: str) -> Path:
    with path.open("wb") as file:
        _WRITERS[form](table, file)
    return path


def _csv(table: pa.Table, file: BinaryIO) -> None:
    from pyarrow import csv

    csv.write_csv(table, file)


def _parquet(table: pa.Table, file: BinaryIO) -> None:
    from pyarrow import parquet

    parquet.write_table(table, file)


def _json(table: pa.Table, file: BinaryIO) -> None:
    file.write(json.dumps(table.to_pylist(), indent=1).encode() + b"\n")


_WRITERS: dict[str, Callable[[pa.Table, BinaryIO], None]] = {"csv": _csv, "json": _json, "parquet": _parquet}
