"""``mammofast phantom``: computed mammograms and breast DCE-MRI with known masses."""

import json
from pathlib import Path

import click

from mammofast.cli.progress import progress
from mammofast.cli.words import counted


@click.command("phantom")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--studies", required=True, type=click.IntRange(1), help="Of four views each, or of one dynamic series.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="The same seed, the same studies.")
@click.option("--kind", default="mammography", show_default=True, type=click.Choice(["mammography", "dce-mri"]))
@click.option("--workers", type=click.IntRange(1), help="Processes; all cores when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print the SOP Instance UIDs as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--verbose", is_flag=True, help="Say what was made.")
def phantom_command(
    out: Path, studies: int, seed: int, kind: str, workers: int | None, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Make phantom studies as DICOM, with the truth beside them.

    \b
    Example: mammofast phantom phantoms --studies 10 --seed 1
    Makes OUT/dicom/<study>/<image>.dcm, OUT/truth/<image>.png (0 none, k = mass k) and OUT/truth/masses.json.
    Of dce-mri: OUT/truth/<first image>.npy (slices, rows, cols; 0 outside, 1 breast, 1 + k = mass k) and .json.
    Into a PACS, each in its transfer syntax: mammofast send phantoms/dicom PACS@10.0.0.7:104
    """  # noqa: D301
    of_mri = kind == "dce-mri"
    if of_mri:
        from mammofast.phantom.dce_mri import write_studies
    else:
        from mammofast.phantom import write_studies

    what, each = ("volume", 1) if of_mri else ("image", 4)
    with progress(f"Making phantom {what}s", studies * each, quiet) as advance:
        made = write_studies(out, studies, seed, workers=workers, progress=advance)
    if as_json:
        click.echo(json.dumps({f"{what}s": made}))
    if verbose:
        click.echo(f"{counted(len(made), what)} of {counted(studies, 'study', 'studies')} of {kind} in {out}", err=True)
