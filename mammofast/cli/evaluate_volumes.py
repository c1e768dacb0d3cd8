"""``mammofast evaluate`` for results of volumes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mammofast.cli.evaluate_printing import (
    in_words,
    left_over_in_words,
    print_comparison,
    print_tables,
    run_name,
    spread_in_words,
)
from mammofast.cli.progress import progress
from mammofast.cli.words import counted

_ROWS = (
    ("sensitivity", "Sensitivity"),
    ("fp_per_image", "False positives per case"),
    ("average_precision", "Average precision"),
)
_REGION = {"dice": "DSC", "iou": "Jaccard", "sensitivity": "segmentation sensitivity"}
_OF_REGION = {"dice": "Region's DSC", "iou": "Region's Jaccard", "sensitivity": "Region's sensitivity"}


def of_volumes(results: Path, bundle_id: str | None, settings_id: str | None) -> bool:
    """Say whether results are of volumes, by the first that was screened."""
    from mammofast.screening import open_results

    volumes = (
        entry.image.is_volume
        for entry in open_results(results).entries()
        if entry.image.is_image
        and entry.image.rows is not None  # of a damaged result nothing is known but its name
        and entry.status in ("done", "failed")
        and entry.run.has_ids(bundle_id, settings_id)
    )
    return next(volumes, False)


def evaluate_volumes(
    results: Path,
    truth: Path,
    split: str | None,
    bundle_id: str | None,
    settings_id: str | None,
    against: Path | None = None,
    against_bundle_id: str | None = None,
    *,
    table: bool,
    quiet: bool,
    verbose: bool,
) -> dict[str, Any]:
    """Measure, print, and return what was measured."""
    from mammofast.evaluation.comparison import compare_volumes
    from mammofast.evaluation.tables import paper_tables
    from mammofast.evaluation.volume_truth import VolumeTruth
    from mammofast.evaluation.volumes import MeasuredVolumes, as_columns, measure_volumes

    known = VolumeTruth(truth, split)
    measured: dict[str, MeasuredVolumes] = {}
    for path, bundle, settings in ((results, bundle_id, settings_id), (against, against_bundle_id, None)):
        if path is not None:
            with progress("Measuring volumes", quiet=quiet) as advance:
                one = measure_volumes(path, known, bundle_id=bundle, settings_id=settings, progress=advance)
            measured[run_name(one.run, measured)] = one
    found = next(iter(measured.values())).summary()
    if against is not None:
        ours, other = measured.values()
        found["against"] = compare_volumes(ours.volumes, other.volumes)
    if table:
        tables = paper_tables("p5", {"ours": as_columns(found)})
        found["tables"] = {"p5": [each.as_dict() for each in tables]}
    if not quiet:
        _print(found, verbose)
        if against is not None:
            print_comparison(found["against"], list(measured), "volume", _ROWS, _OF_REGION)
        if table:
            print_tables(tables)
    return found


def _print(measures: Mapping[str, Any], verbose: bool) -> None:
    intervals = measures["intervals"]
    rows = [(words, measures[name], intervals[name]) for name, words in _ROWS]
    rows += [
        (f"Breast region: {words}", measures["region"][name]["mean"], measures["region"][name]["interval"])
        for name, words in _REGION.items()
    ]
    if verbose and measures["froc_sensitivity"]:
        rows += [
            (f"Sensitivity at {at} FP/case", value, intervals["froc_sensitivity"][at])
            for at, value in measures["froc_sensitivity"].items()
        ]
    for words, value, interval in rows:
        click.echo(f"{words:<40}{in_words(value):>8}   {spread_in_words(interval, value)}".rstrip())
    click.echo(
        f"{counted(measures['n_images'], 'volume')} of {counted(measures['n_patients'], 'patient')}, "
        f"{counted(measures['n_masses'], 'mass', 'masses')}, {counted(measures['n_findings'], 'candidate')}; "
        f"{left_over_in_words(measures, 'volumes')}"
    )
    for notice in measures["notices"]:
        click.echo(notice)
