"""Tables shaped like the papers': a row for each system, and for every measure ours beside what the paper reports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mammofast.evaluation.papers import METHODS, P4_AP, P4_DICE, P4_FUSION, TABLES, PaperTable

POOLED = "  all pixels together"
PER_IMAGE = "  mean over images"


@dataclass(frozen=True, slots=True)
class Cell:
    """One measure of one system. interval: 95 %, None where it cannot be said."""

    ours: float | None = None
    interval: tuple[float, float] | None = None
    paper: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One system."""

    system: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A paper's table with ours in it. columns: the paper's headings."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        rows = [
            {
                "system": row.system.strip(),
                **{
                    column: {"ours": cell.ours, "interval": cell.interval, "paper": cell.paper}
                    for column, cell in zip(self.columns, row.cells, strict=True)
                },
            }
            for row in self.rows
        ]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}


def tables_of(method: str | None, name: str = "") -> tuple[str, ...]:
    """Return which papers' tables fit a method, by name; of an unknown one all that are of images.

    name: the bundle's; where it is a system that some of these papers report, theirs alone.
    """
    of_images = tuple(paper for paper in TABLES if paper not in METHODS["volume"])
    fitting = METHODS.get(method or "", of_images)
    own = tuple(paper for paper in fitting if any(_row_of(known, name) for known in TABLES[paper]))
    return own or fitting


def paper_tables(paper: str, systems: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Return a paper's tables with one's own systems in them.

    Parameters
    ----------
    paper: a key of ``TABLES``.
    systems: by name, what ``evaluate`` returns with masks. A name that holds a reported system's stands on its row,
        such as "p2-aunet" on AUNet's; others come first.

    """
    return [table for known in TABLES[paper] if (table := _table(known, systems)) is not None]


def _table(known: PaperTable, systems: Mapping[str, Mapping[str, Any]]) -> Table | None:
    if known is P4_FUSION:
        fused = [measures["fusion"] for measures in systems.values() if "fusion" in measures]
        if not fused:
            return None
        systems = fused[0]
    extra = _notes(known, systems)
    rows = {row.system: [Row(row.system, tuple(Cell(paper=value) for value in row.values))] for row in known.rows}
    strangers = []
    for name, measures in systems.items():
        ours, below = _cells(known, measures)
        on = _row_of(known, name)
        if on is None:
            strangers += [Row(name, ours), *below]
        else:
            cells = zip(ours, rows[on][0].cells, strict=True)
            rows[on] = [Row(on, tuple(replace(cell, paper=old.paper) for cell, old in cells)), *below]
    reported = [row for of_one in rows.values() for row in of_one]
    return Table(known.title, tuple(known.columns.values()), (*strangers, *reported), (*extra, *known.notes))


def _row_of(known: PaperTable, name: str) -> str | None:
    """Return the reported system that a name says it is: the longest of the words that it holds decides."""
    held = [(len(word), row.system) for row in known.rows for word in row.names if word in name.lower()]
    return max(held)[1] if held else None


def _cells(known: PaperTable, measures: Mapping[str, Any]) -> tuple[tuple[Cell, ...], list[Row]]:
    """Return a system's own row, and the rows that stand below it."""
    masks = measures.get("masks")
    if masks is None or known is P4_AP:
        return tuple(_cell(measures, name) for name in known.columns), []
    if set(known.columns) <= masks["per_image"].keys():
        means = tuple(_mean(masks["per_image"][name]) for name in known.columns)
        pooled, intervals = masks["pooled"] or {}, masks["pooled_intervals"]
        below = tuple(Cell(pooled.get(name), intervals.get(name)) for name in known.columns)
        return means, [] if known is P4_DICE else [Row(POOLED, below)]
    values, intervals = masks["classes"] or {}, masks["classes_intervals"]
    own = tuple(Cell(values.get(name), intervals.get(name)) for name in known.columns)
    return own, [Row(PER_IMAGE, tuple(_mean(masks["classes_per_image"][name]) for name in known.columns))]


def _cell(measures: Mapping[str, Any], name: str) -> Cell:
    return Cell(measures.get(name), measures["intervals"].get(name))


def _mean(cell: Mapping[str, Any]) -> Cell:
    return Cell(cell["mean"], cell["interval"])


def _notes(known: PaperTable, systems: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what has to be said of ours."""
    notes = []
    for name, measures in systems.items():
        masks = measures.get("masks")
        if masks is None or "hausdorff_px" not in known.columns:
            continue
        px, mm = (masks["per_image"][f"hausdorff_{unit}"] for unit in ("px", "mm"))
        if not px["n"]:
            notes.append(f"{name}: no HAU, for nothing was found on any image with a mass.")
            continue
        of = "" if px["n"] == masks["n_images"] else f", of the {px['n']} images on which anything was found"
        said = "not known in mm" if mm["mean"] is None else f"{mm['mean']:.1f} mm"
        notes.append(f"{name}: HAU {said}{of}.")
    return tuple(notes)


def as_text(table: Table) -> Iterable[str]:
    """Yield a table's lines, notes last."""
    width = max(len(row.system) for row in table.rows) + 2
    yield table.title
    yield " " * width + "".join(f"{column:^22}" for column in table.columns).rstrip()
    yield " " * width + "".join(f"{'ours':>10}{'paper':>10}  " for _ in table.columns).rstrip()
    for row in table.rows:
        yield _line(row.system, width, (f"{_number(c.ours):>10}{_reported(c.paper):>10}  " for c in row.cells))
        if any(cell.interval for cell in row.cells):
            yield _line("", width, (f"{_between(cell.interval):^22}" for cell in row.cells))
    yield from wrapped(table.notes)


def wrapped(notes: Sequence[str], width: int = 110) -> Iterable[str]:
    """Yield notes as indented lines."""
    import textwrap

    for note in notes:
        yield from textwrap.wrap(note, width, initial_indent="  * ", subsequent_indent="    ")


def _line(name: str, width: int, cells: Iterable[str]) -> str:
    return f"{name:<{width}}{''.join(cells)}".rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _reported(value: float | None) -> str:
    """Return a paper's number with the digits it has there."""
    return "-" if value is None else f"{value:.4g}"


def _between(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{_number(interval[0])} to {_number(interval[1])}"
