"""``mammofast evaluate``: results against the truth."""

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from mammofast.cli.progress import progress

_ROWS = (
    ("sensitivity", "Sensitivity"),
    ("fp_per_image", "False positives per image"),
    ("dice_mean", "Dice, images with a mass"),
    ("average_precision", "Average precision"),
)


@click.command("evaluate")
@click.argument("results", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--truth",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of SOP_INSTANCE_UID.png: 8-bit, native size, 0 = no mass, k = mass k; or a data set, see --layout.",
)
@click.option(
    "--layout",
    type=click.Choice(["png", "inbreast", "cbis-ddsm", "vindr-mammo", "phantoms"]),
    default="png",
    show_default=True,
    help="How the truth lies there. INbreast's outlines need the extra [evaluation].",
)
@click.option("--bundle-id", help="Which bundle's results, where there are several.")
@click.option("--settings-id", help="Which settings' results, where there are several.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON to this file.")
@click.option("--table", is_flag=True, help="Measure masks too, beside the papers; needs the extra [evaluation].")
@click.option("--quiet", is_flag=True, help="Print nothing.")
@click.option("--verbose", is_flag=True, help="Print the FROC curve's usual points too.")
def evaluate_command(
    results: Path,
    truth: Path,
    layout: str,
    bundle_id: str | None,
    settings_id: str | None,
    json_file: Path | None,
    table: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure RESULTS where the truth is known.

    \b
    Example: mammofast evaluate results --truth phantoms/truth --json measures.json

    A finding's box finds a mass at an IoU of 0.5 or more. Intervals are 95 %, by bootstrap over studies.
    """  # noqa: D301
    from mammofast.evaluation import evaluate, open_truth

    if (table and find_spec("scipy") is None) or (layout == "inbreast" and find_spec("skimage") is None):
        raise ImportError('SciPy and scikit-image are needed for this: pip install "mammofast[evaluation]"')
    known = open_truth(truth, layout)
    with progress("Measuring images", quiet=quiet) as advance:
        measures = evaluate(results, known, bundle_id=bundle_id, settings_id=settings_id, masks=table, progress=advance)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(measures, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise click.FileError(str(json_file), error.strerror or "") from error
    if not quiet:
        _print(measures, verbose)
        if table:
            _print_masks(measures["masks"])


def _print(measures: dict[str, Any], verbose: bool) -> None:
    for name, words in _ROWS:
        interval = measures["intervals"].get(name)
        between = f"   {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        click.echo(f"{words:<28}{_number(measures[name]):>8}{between}")
    if verbose and measures["froc_sensitivity"]:
        for at, value in measures["froc_sensitivity"].items():
            click.echo(f"{f'Sensitivity at {at} FP/image':<28}{_number(value):>8}")
    click.echo(
        f"{measures['n_images']} images of {measures['n_studies']} studies, {measures['n_masses']} masses, "
        f"{measures['n_findings']} findings; {measures['n_failed']} images failed, "
        f"{measures['n_without_truth']} have no truth"
    )
    for notice in measures["notices"]:
        click.echo(notice)


def _print_masks(masks: dict[str, Any]) -> None:
    """Print a table as the papers': a row for each system, ours first."""
    from mammofast.evaluation.papers import REPORTED

    per_image, pooled = masks["per_image"], masks["pooled"] or {}
    columns = {
        "dice": "Dice",
        "iou": "IoU",
        "sensitivity": "SEN",
        "relative_area_difference": "dA",
        "hausdorff_mm": "HAU mm",
        "hausdorff_px": "HAU px",
    }

    def row(name: str, cells: Iterable[str]) -> None:
        click.echo(f"{name:<38}" + "".join(f"{cell:>9}" for cell in cells))

    click.echo()
    row(f"{masks['n_images']} images with a mass", columns.values())
    row("mean over images", (_number(per_image[name]["mean"]) for name in columns))
    intervals = [per_image[name]["interval"] for name in columns]
    for side, words in enumerate(("  95 % from", "       to")):
        row(words, (_number(interval and interval[side]) for interval in intervals))
    row("all pixels together", (_number(pooled.get(name)) for name in columns))
    if (known := per_image["hausdorff_px"]["n"]) < masks["n_images"]:
        click.echo(f"  (distances are of {known} images: on the others nothing was found)")
    for reported in REPORTED:
        row(reported.system, (_number(reported.values.get(name)) for name in columns))
        if reported.note:
            click.echo(f"  ({reported.note})")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
