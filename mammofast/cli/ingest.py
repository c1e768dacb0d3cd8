"""``mammofast ingest``: DICOM objects into an archive."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from mammofast.cli.progress import progress
from mammofast.cli.status import SOME_FAILED


@click.command("ingest")
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="SOURCE...")
@click.argument("archive", type=click.Path(path_type=Path, file_okay=False))
@click.option("--workers", type=click.IntRange(1), help="Threads.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, and nothing said unless something failed.")
@click.option("--verbose", is_flag=True, help="List what was skipped and failed, each with its reason.")
@click.pass_context
def ingest_command(
    ctx: click.Context,
    sources: tuple[Path, ...],
    archive: Path,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Add what is new in files, folders, zip files and DICOMDIRs to an archive.

    \b
    Example: mammofast ingest /data/dicom monday.zip archive.zarr

    What is not a usable 2-D mammogram is recorded in the archive with its reason. Running again changes nothing; after
    a kill it goes on where it stopped. Exit status 3 when files failed.
    """  # noqa: D301
    from mammofast.archive import ingest, open_archive
    from mammofast.archive.sources import find_files

    # Counted first, so that the bar knows its end; opening is what takes time.
    total = None if quiet else sum(1 for _ in find_files(sources, exclude=archive))
    with progress("Ingesting files", total, quiet) as advance:
        report = ingest(sources, archive, workers=workers, progress=advance)
    if verbose:
        for record in open_archive(archive).skipped():
            click.echo(f"{record.status}: {record.sop_uid or record.source_sha256 or '-'}: {record.reason}", err=True)
    if as_json:
        click.echo(json.dumps(asdict(report)))
    elif not quiet or report.failed:
        click.echo(f"{report.files} files: {report}")
        if report.failed:
            click.echo("Why files failed: `mammofast archive list ARCHIVE --skipped`", err=True)
    if report.failed:
        ctx.exit(SOME_FAILED)
