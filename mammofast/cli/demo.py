"""``mammofast demo``: the whole job on phantoms, offline, on a CPU."""

import json
from pathlib import Path

import click

from mammofast.cli.progress import progress
from mammofast.cli.screen import what_there_is
from mammofast.errors import PhantomError

DEFAULT_STUDIES = 6
# Any seed would do: no study that is written shares a random stream with the phantoms of training (phantom/plan.py).
SEED = 20_000


@click.command("demo")
@click.option(
    "--studies", default=DEFAULT_STUDIES, show_default=True, type=click.IntRange(1), help="Four-view studies."
)
@click.option("--out", default="mammofast-demo", show_default=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print where the page is, and the measures, as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--verbose", is_flag=True, help="Say what each step made.")
def demo_command(studies: int, out: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Make phantom studies, archive them, screen them, measure and report.

    \b
    Example: mammofast demo --studies 2 --out demo
    Makes OUT/dicom, OUT/truth, OUT/archive.zarr, OUT/results and OUT/report/index.html.
    """  # noqa: D301
    from mammofast.archive import ingest
    from mammofast.evaluation import evaluate
    from mammofast.phantom import write_studies
    from mammofast.report.html import write_html
    from mammofast.screening import screen

    _claim(out, studies)
    archive, results, report = out / "archive.zarr", out / "results", out / "report"
    with progress("Making phantom images", studies * 4, quiet) as advance:
        write_studies(out, studies=studies, seed=SEED, progress=advance)
    with progress("Ingesting images", studies * 4, quiet) as advance:
        ingested = ingest([out / "dicom"], archive, progress=advance)
    if verbose:
        click.echo(str(ingested), err=True)
    with progress("Screening images", what_there_is(archive)[1], quiet) as advance:
        screened = screen(archive, results, bundle="demo", progress=advance)
    if verbose:
        click.echo(str(screened), err=True)
    with progress("Measuring images", quiet=quiet) as advance:
        measures = evaluate(results, out / "truth", progress=advance)
    (out / "evaluation.json").write_text(json.dumps(measures, indent=2) + "\n")
    with progress("Drawing studies", quiet=quiet) as advance:
        page = write_html(results, report, progress=advance)
    if as_json:
        click.echo(json.dumps({"report": str(page), **measures}))
        return
    click.echo(f"Report:      {page}")
    click.echo(
        f"Sensitivity: {measures['sensitivity']:.3f} at {measures['fp_per_image']:.3f} false positives per image, "
        f"mean Dice {measures['dice_mean']:.3f}, {studies * 4} images"
    )
    click.echo("For trying the software only: the demo's networks were trained on phantoms, never on patients.")


def _claim(out: Path, studies: int) -> None:
    """Make a folder this demo's own, so that nothing of anybody else's is ingested or written over."""
    mark, content = out / "demo.json", json.dumps({"studies": studies, "seed": SEED}) + "\n"
    if mark.exists():
        if mark.read_text() != content:
            raise PhantomError(f"{out}: holds another demo, {mark.read_text().strip()}; give a new folder with --out")
        return
    if out.exists() and any(path.name[0] != "." for path in out.iterdir()):
        raise PhantomError(f"{out}: is not empty, and no demo made it; give a new folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text(content)
