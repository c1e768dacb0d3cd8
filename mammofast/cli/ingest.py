"""``mammofast ingest``: DICOM objects into an archive."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from mammofast.cli.progress import progress
from mammofast.cli.status import COULD_NOT_RUN, SOME_FAILED


@click.command("ingest")
@click.argument("sources", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="SOURCE...")
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
    Ctrl-C or a kill it goes on where it stopped. Exit status 3 when files failed, 1 when a SOURCE is an empty folder.
    """  # noqa: D301
    if not sources:
        raise click.UsageError("got one path, expected two or more: first each SOURCE, then the ARCHIVE to add to")
    from mammofast.archive import ingest, open_archive
    from mammofast.archive.sources import checked_sources, find_files
    from mammofast.cli.allocator import keep_memory_flat

    keep_memory_flat()
    try:
        checked_sources(sources)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        # Counted first, so that the bar knows its end; opening is what takes time.
        total = None if quiet else sum(1 for _ in find_files(sources, exclude=archive))
        with progress("Ingesting files", total, quiet) as advance:
            report = ingest(sources, archive, workers=workers, progress=advance)
    except KeyboardInterrupt:
        click.echo("mammofast: stopped; what was added is safe, run the same command again to go on", err=True)
        ctx.exit(COULD_NOT_RUN)
    if verbose:
        for record in open_archive(archive).skipped():
            click.echo(f"{record.status}: {record.sop_uid or record.source_sha256 or '-'}: {record.reason}", err=True)
    if as_json:
        click.echo(json.dumps(asdict(report)))
    elif not quiet or report.failed:
        click.echo(f"{report.files} {'file' if report.files == 1 else 'files'}: {report}")
        if report.failed:
            click.echo("Why files failed: `mammofast archive list ARCHIVE --skipped`", err=True)
    empty = [str(number) for number, path in enumerate(sources, start=1) if not any(True for _ in find_files(path))]
    if empty:
        # A share that is not mounted is an empty folder, and must not pass for a night without images.
        click.echo(
            f"mammofast: no file in source {' and '.join(empty)}, archives and results of mammofast aside; "
            "look whether its disk or share is mounted, and run again",
            err=True,
        )
        ctx.exit(COULD_NOT_RUN)
    if report.failed:
        ctx.exit(SOME_FAILED)
