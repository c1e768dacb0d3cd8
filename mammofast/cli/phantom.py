"""``mammofast phantom``: computed mammograms with known masses."""

import json
from pathlib import Path

import click

from mammofast.cli.progress import progress


@click.command("phantom")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--studies", required=True, type=click.IntRange(1), help="Four-view studies to make.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="The same seed, the same studies.")
@click.option("--kind", default="mammography", show_default=True, type=click.Choice(["mammography"]))
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
    """  # noqa: D301
    from mammofast.phantom import write_studies

    with progress("Making phantom images", studies * 4, quiet) as advance:
        images = write_studies(out, studies, seed, workers=workers, progress=advance)
    if as_json:
        click.echo(json.dumps({"images": images}))
    if verbose:
        click.echo(f"{len(images)} images of {studies} studies of {kind} in {out}", err=True)
