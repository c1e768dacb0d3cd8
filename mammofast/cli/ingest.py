"""``mammofast ingest``: DICOM objects into an archive."""

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mammofast.cli.naming import may_name, read_data_set
from mammofast.cli.progress import aside, progress
from mammofast.cli.serve import MODALITY
from mammofast.cli.status import COULD_NOT_RUN, SOME_FAILED
from mammofast.cli.words import counted
from mammofast.errors import MammofastError
from mammofast.pacs import is_url

if TYPE_CHECKING:
    from mammofast.archive import IngestReport
    from mammofast.pacs.dicomweb import DicomWeb

# Counts that are told only where there is something to say.
_RARE = frozenset({"mixed_studies", "volumes"})
# Public data sets of DICOM objects.
_LAYOUTS = ("inbreast", "cbis-ddsm", "vindr-mammo")


def _paths_and_urls(ctx: click.Context, argument: click.Parameter, value: tuple[str, ...]) -> tuple[str | Path, ...]:
    # Whether a path exists is asked later: click would name it, and it may name a patient.
    return tuple(each if is_url(each) else Path(each) for each in value)


@click.command("ingest")
@click.argument("sources", nargs=-1, callback=_paths_and_urls, metavar="SOURCE...")
@click.argument("archive", type=click.Path(path_type=Path, file_okay=False))
@click.option("--layout", type=click.Choice(_LAYOUTS), help="SOURCEs are folders of this public data set.")
@MODALITY
@click.option("--workers", type=click.IntRange(1), help="Threads.  [default: one per core]")
@click.option("--ca", type=click.Path(path_type=Path, dir_okay=False), help="CA certificates a PACS is trusted by.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, and nothing said unless something failed.")
@click.option(
    "--verbose", is_flag=True, callback=may_name, help="List what was skipped and failed, each with its reason."
)
@click.pass_context
def ingest_command(
    ctx: click.Context,
    sources: tuple[str | Path, ...],
    archive: Path,
    layout: str | None,
    modalities: tuple[str, ...],
    workers: int | None,
    ca: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Add what is new in files, folders, zip files, DICOMDIRs and PACS to an archive.

    \b
    Example: mammofast ingest /data/dicom monday.zip archive.zarr
    Example: mammofast ingest "https://pacs:8443/dicom-web?StudyDate=20261101-" archive.zarr
    Example: mammofast ingest --modality MR "https://pacs:8443/dicom-web?StudyDescription=*BREAST*" archive.zarr
    Example: mammofast ingest --layout cbis-ddsm /data/cbis archive.zarr

    A PACS is given by its DICOMweb root, with QIDO-RS filters behind it, or /studies/UID. It is asked for mammograms;
    with --modality MR for all MR of the studies that match, so let the filters find those of the breast. Nothing is
    fetched of a series whose Body Part Examined is another part; it is recorded with that reason. Who asks, it is told
    from the environment, never the command line: MAMMOFAST_PACS_USER and MAMMOFAST_PACS_PASSWORD, MAMMOFAST_PACS_TOKEN,
    or .netrc.

    With --layout, a public data set's images are added, and not its masks and crops; what their headers leave out, side
    and view, is taken from the data set. CBIS-DDSM needs it: its scanned films are Secondary Captures, which otherwise
    are no mammograms.

    Breast DCE-MRI series become volumes as soon as all their slices are there; until then they wait in the archive.
    What is neither of these nor a usable 2-D mammogram is recorded in the archive with its reason. Running again
    changes nothing; after Ctrl-C or a kill it goes on where it stopped. Exit status 3 when files failed, 1 when a
    SOURCE is an empty folder.
    """  # noqa: D301
    if not sources:
        raise click.UsageError("got one path, expected two or more: first each SOURCE, then the ARCHIVE to add to")
    from mammofast.archive import open_archive
    from mammofast.archive.ingest import Ingest
    from mammofast.archive.sources import checked_sources, find_files
    from mammofast.cli.allocator import keep_memory_flat
    from mammofast.datasets.files import DatasetFiles

    def tell(report: "IngestReport") -> None:
        if as_json:
            counts = {name: count for name, count in asdict(report).items() if count or name not in _RARE}
            click.echo(json.dumps(counts))
        elif not quiet or report.failed:
            click.echo(f"{counted(report.files, 'file')}: {report}")
            if report.failed:
                click.echo("Why files failed: `mammofast archive list ARCHIVE --skipped`", err=True)
            elif report.skipped and not (report.added or report.known):
                click.echo("Why nothing was added: `mammofast archive list ARCHIVE --skipped`", err=True)

    keep_memory_flat()
    places = [source for source in sources if isinstance(source, Path)]
    if layout is not None and len(places) < len(sources):
        raise click.UsageError("--layout: got a URL, expected the folders of a data set")
    if modalities and len(places) == len(sources):
        raise click.UsageError("--modality: got no URL of a PACS; files and folders are read whatever they hold")
    with ExitStack() as held:
        try:
            checked_sources(places)
            servers = [
                held.enter_context(_server(source, ca, modalities or ("MG",), quiet))
                for source in sources
                if isinstance(source, str)
            ]
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        sets = [] if layout is None else [read_data_set(layout, place, as_json or quiet, verbose) for place in places]
        run = held.enter_context(Ingest(archive, workers=workers))
        try:
            # Counted first, so that the bar knows its end; opening is what takes time. A PACS is asked only once.
            total = sum(map(len, sets)) or None
            if not (quiet or servers or sets):
                total = sum(1 for _ in find_files(places, exclude=archive))
            with progress("Ingesting files", total, quiet) as advance:
                run.add([DatasetFiles(data) for data in sets] or [*places, *servers], advance)
        except KeyboardInterrupt:
            tell(run.report)
            click.echo("mammofast: stopped; what was added is safe, run the same command again to go on", err=True)
            ctx.exit(COULD_NOT_RUN)
        except MammofastError:
            tell(run.report)
            raise
        if verbose:
            for server in servers:
                click.echo(
                    f"{counted(server.studies, 'study', 'studies')} in the PACS, {server.new_studies} looked into",
                    err=True,
                )
            for record in open_archive(archive).skipped():
                what = record.sop_uid or record.source_sha256 or record.series_uid or record.study_uid or "-"
                click.echo(f"{record.status}: {what}: {record.reason}", err=True)
        tell(run.report)
        empty = [str(number) for number, path in enumerate(places, start=1) if not any(True for _ in find_files(path))]
        if empty:
            # A share that is not mounted is an empty folder, and must not pass for a night without images.
            click.echo(
                f"mammofast: no file in source {' and '.join(empty)}, archives and results of mammofast aside; "
                "look whether its disk or share is mounted, and run again",
                err=True,
            )
            ctx.exit(COULD_NOT_RUN)  # within: an archive that was begun and is empty goes again
    if run.report.failed:
        ctx.exit(SOME_FAILED)


def _server(url: str, ca: Path | None, modalities: tuple[str, ...], quiet: bool) -> "DicomWeb":
    from mammofast.pacs.dicomweb import DicomWeb

    server = DicomWeb(url, ca, modalities=modalities, tell=None if quiet else aside)
    if server.server.credentials_are_exposed:
        click.echo("mammofast: user, password or token go to the PACS over http, and can be read on the way", err=True)
    return server
