"""``mammofast report``: results as people and other programs read them."""

import json
from pathlib import Path

import click

from mammofast.cli.progress import progress

_TABLES = ("csv", "parquet", "json")


@click.command("report")
@click.argument("results", type=click.Path(path_type=Path, file_okay=False))
@click.option("--to", "form", required=True, type=click.Choice(["html", *_TABLES]), help="What to write.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A folder.")
@click.option("--archive", type=click.Path(path_type=Path, file_okay=False), help="Where the archive is, if it moved.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.option("--quiet", is_flag=True, help="Say nothing.")
@click.option("--verbose", is_flag=True, help="Say how many images and findings there are.")
def report_command(
    results: Path, form: str, out: Path, archive: Path | None, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Write RESULTS as a page or as tables.

    \b
    Example: mammofast report results --to html --out report

    html is one page, index.html, that needs nothing beside it. csv, parquet and json are two tables, findings and
    images.
    """  # noqa: D301
    from mammofast.screening import open_results

    opened = open_results(results)
    if form == "html":
        from mammofast.report.html import write_html

        with progress("Drawing studies", quiet=quiet) as advance:
            written = [write_html(results, out, archive, progress=advance)]
    else:
        from mammofast.report.tables import write_tables

        written = write_tables(results, out, form)
    if verbose:
        click.echo(f"{opened.images().num_rows} images, {opened.findings().num_rows} findings", err=True)
    if as_json:
        click.echo(json.dumps({"written": [str(path) for path in written], "notices": opened.notices()}))
    elif not quiet:
        for path in written:
            click.echo(str(path))
        for notice in opened.notices():
            click.echo(notice, err=True)
