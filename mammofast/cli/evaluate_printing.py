"""What ``mammofast evaluate`` prints."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from mammofast.cli.words import counted

if TYPE_CHECKING:
    from mammofast.evaluation.tables import Table

_ROWS = (
    ("sensitivity", "Sensitivity"),
    ("fp_per_image", "False positives per image"),
    ("dice_mean", "Dice, images with a mass"),
    ("average_precision", "Average precision"),
)
_MASKS = {
    "dice": "Dice",
    "iou": "IoU",
    "sensitivity": "sensitivity of pixels",
    "relative_area_difference": "area difference",
    "hausdorff_px": "Hausdorff, px",
    "hausdorff_mm": "Hausdorff, mm",
}


def print_measures(measures: Mapping[str, Any], verbose: bool) -> None:
    """Print detection and Dice with intervals, and what they are of."""
    intervals = measures["intervals"]
    for name, words in _ROWS:
        click.echo(
            f"{words:<30}{in_words(measures[name]):>8}   {spread_in_words(intervals[name], measures[name])}".rstrip()
        )
    if verbose and measures["froc_sensitivity"]:
        for at, value in measures["froc_sensitivity"].items():
            between = spread_in_words(intervals["froc_sensitivity"][at], value)
            click.echo(f"{f'Sensitivity at {at} FP/image':<30}{in_words(value):>8}   {between}".rstrip())
    click.echo(
        f"{counted(measures['n_images'], 'image')} of {counted(measures['n_studies'], 'study', 'studies')}, "
        f"{counted(measures['n_masses'], 'mass', 'masses')}, {counted(measures['n_findings'], 'finding')}; "
        f"{left_over_in_words(measures, 'images')}"
    )
    for notice in measures["notices"]:
        click.echo(notice)


def left_over_in_words(measures: Mapping[str, Any], units: str) -> str:
    """Return how many failed, and how many are not measured because of the truth."""
    outside = f", outside the split: {measures['n_outside_split']}" if measures["n_outside_split"] else ""
    return f"{units} that failed: {measures['n_failed']}, without truth: {measures['n_without_truth']}{outside}"


def print_groups(by: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print sensitivity and Dice of each kind of mass."""
    for kind, groups in by.items():
        width = max(len(group["group"]) for group in groups) + 2
        width = max(width, len(f"By {kind}") + 2)
        click.echo(f"\n{f'By {kind}':<{width}}{'masses':>7}{'patients':>10}{'sensitivity':>13}{'':18}{'Dice':>6}")
        for group in groups:
            cells = [
                f"{group[name]:>{size}.3f}  {spread_in_words(group['intervals'][name], group[name]):<16}"
                for name, size in (("sensitivity", 13), ("dice_mean", 6))
            ]
            line = f"{group['group']:<{width}}{group['n_masses']:>7}{group['n_patients']:>10}{''.join(cells)}"
            click.echo(line.rstrip())
        click.echo("(Dice of each mass and the finding that found it, 0 where it was missed)")


def print_comparison(
    found: Mapping[str, Any],
    names: Sequence[str],
    unit: str = "image",
    detection: Sequence[tuple[str, str]] = _ROWS,
    masks: Mapping[str, str] = _MASKS,
) -> None:
    """Print the differences between two systems, first less second. detection, masks: measures, and their words."""
    of = f"{counted(found['n_images'], unit)} of {counted(found['n_patients'], 'patient')}"
    click.echo(f"\n{names[0]} against {names[1]}, {of}")
    click.echo(f"{'':26}{'first':>8}{'second':>8}{'difference':>12}{'':19}{'n':>5}{'p':>8}{'p, patients':>13}")
    rows = [(words, found["detection"][name]) for name, words in detection if name in found["detection"]]
    rows += [(words, found["masks"][name]) for name, words in masks.items()]
    for words, row in rows:
        difference = "-" if row["difference"] is None else f"{row['difference']:+.3f}"
        tests = f"{row['n']:>5}{_p(row['p_images']):>8}{_p(row['p_patients']):>13}" if "n" in row else ""
        between = spread_in_words(row["interval"], row["difference"])
        sides = f"{in_words(row['ours']):>8}{in_words(row['other']):>8}{difference:>12}"
        click.echo(f"{words:<26}{sides}   {between:<16}{tests}".rstrip())
    click.echo(
        f"p: Wilcoxon's signed-rank test, two-sided, of {unit}s{' as P2 tests' if unit == 'image' else ''}; then of "
        f"patients' means, since {unit}s of a\npatient are not independent. Not corrected for the number of tests."
    )


def print_tables(tables: "Sequence[Table]") -> None:
    """Print papers' tables with ours in them."""
    from mammofast.evaluation.tables import as_text

    for table in tables:
        click.echo()
        for line in as_text(table):
            click.echo(line)


def print_baselines(baselines: Mapping[str, Any]) -> None:
    """Print Dice, IoU and sensitivity of classic baselines."""
    click.echo(f"{'':24}{'Dice':>8}{'IoU':>26}{'sensitivity':>26}")
    for name, measures in baselines.items():
        cells = [measures["masks"]["per_image"][key] for key in ("dice", "iou", "sensitivity")]
        line = "".join(f"{in_words(c['mean']):>8}  {spread_in_words(c['interval'], c['mean']):<16}" for c in cells)
        click.echo(f"{name:<24}{line}".rstrip())


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def run_name(run: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """Return what the printout calls a run: its bundle's name, or part of its id. taken: names that others have."""
    name = str(run.get("name") or f"bundle {run['bundle_id'][:8]}")
    return name if name not in taken else f"{name}, the other"


def in_words(value: float | None) -> str:
    """Return a measure in words."""
    return "-" if value is None else f"{value:.3f}"


def spread_in_words(interval: Sequence[float] | None, value: float | None) -> str:
    """Return an interval in words; "-" where there is a value and nothing can be said of its spread."""
    if interval is None:
        return "" if value is None else "-"
    return f"{interval[0]:.3f} to {interval[1]:.3f}"
