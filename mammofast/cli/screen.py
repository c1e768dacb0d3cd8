"""``mammofast screen``: what is new in an archive, screened."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import click

from mammofast.cli.progress import progress
from mammofast.cli.status import COULD_NOT_RUN, SOME_FAILED
from mammofast.settings import DEVICE


def _time_of_day(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", value):
        raise click.BadParameter(f"got {value!r}, expected a time of day such as 06:30")
    return value


def _device(ctx: click.Context, option: click.Parameter, value: str) -> str:
    if not DEVICE.fullmatch(value):
        raise click.BadParameter(f"got {value!r}, expected auto, cpu, cuda or such as cuda:1")
    return value


# systemd and batch systems kill what is still there 30 s after SIGTERM, or later.
GRACE_SECONDS = 25.0
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("screen")
@click.argument("archive", type=click.Path(path_type=Path, file_okay=False))
@click.argument("results", type=click.Path(path_type=Path, file_okay=False))
@click.option("--bundle", required=True, help="What to screen with: a bundle's folder, 'demo', or 'demo-mri' for MR.")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes on this machine.  [default: one per core, or per card]"
)
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler to use instead, say tls://host:8786.")
@click.option("--tls-ca", type=_FILE, help="For --scheduler tls://…: certificates that are trusted (PEM).")
@click.option("--tls-cert", type=_FILE, help="Our certificate (PEM).  [default for all three: Dask's configuration]")
@click.option("--tls-key", type=_FILE, help="Its key (PEM).")
@click.option("--insecure", is_flag=True, help="Allow a --scheduler on another machine in clear text.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N",
    callback=_device,
    help="What runs the networks: by default what the bundle was compiled for, on every card there is.",
)
@click.option("--until", metavar="HH:MM", callback=_time_of_day, help="Begin nothing once it is that late.")
@click.option(
    "--image-deadline",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="What an image, or ten slices, may take; past it, it is tried once more alone, then it has failed.",
)
@click.option("--retry-failed", is_flag=True, help="Screen images again that failed before.")
@click.option(
    "--log",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Where to add a line of JSON for each study that is complete; - is standard error.  [default: RESULTS/logs/…]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, and nothing said unless something failed.")
@click.option("--verbose", is_flag=True, help="List what was skipped and failed, each with its reason.")
@click.pass_context
def screen_command(
    ctx: click.Context,
    archive: Path,
    results: Path,
    bundle: str,
    workers: int | None,
    scheduler: str | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
    device: str,
    until: str | None,
    image_deadline: float,
    retry_failed: bool,
    log: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Find masses in the images of ARCHIVE that RESULTS does not hold yet.

    \b
    Example: mammofast screen archive.zarr results --bundle demo --until 06:30

    May be stopped with Ctrl-C, SIGTERM or SIGHUP, which takes less than 30 s and ends with exit status 1, or killed, at
    any moment: what was finished is on record, and the same command goes on from there. Exit status 3 when images, or
    files that should have been images, failed.
    """  # noqa: D301
    if workers and scheduler:
        raise click.UsageError(
            "--workers starts workers here and --scheduler uses those of a cluster: give one of them"
        )
    from mammofast.screening.cluster import Access
    from mammofast.screening.run import Interrupted, screen
    from mammofast.screening.stopping import in_words, next_time

    what, total = ("images", None) if quiet else what_there_is(archive)
    if until is not None and not quiet:
        click.echo(f"Screening until {in_words(next_time(until))}", err=True)
    report, interrupted = None, False
    with progress(f"Screening {what}", total, quiet) as advance:
        try:
            report = screen(
                archive,
                results,
                bundle,
                workers=workers,
                scheduler=scheduler,
                access=Access(tls_ca, tls_cert, tls_key, insecure),
                device=device,
                until=until,
                image_deadline=image_deadline,
                retry_failed=retry_failed,
                log=log,
                grace=GRACE_SECONDS,
                progress=advance,
            )
        except Interrupted as stop:
            report, interrupted = stop.report, True
    if verbose:
        _list_unused(results)
    if as_json:
        click.echo(json.dumps(asdict(report)))
    elif not quiet or report.failed or report.stopped:
        click.echo(str(report))
        if report.skipped and not (report.done or report.failed or report.stopped or verbose):
            # Another kind of bundle than the archive's images leaves a night without results, and no error.
            click.echo("Why nothing was screened: the same command with --verbose", err=True)
    if interrupted:
        ctx.exit(COULD_NOT_RUN)
    if report.failed:
        ctx.exit(SOME_FAILED)


def what_there_is(archive: Path) -> tuple[str, int]:
    """Return what an archive has, in words, and how much, by its folders' names: opening each would take long."""
    from mammofast.archive import open_archive
    from mammofast.archive.store import image_folders
    from mammofast.archive.volumes.store import volume_folders

    path = open_archive(archive).path
    images, volumes = sum(1 for _ in image_folders(path, in_order=False)), sum(1 for _ in volume_folders(path))
    what = "images" if not volumes else "images and volumes" if images else "volumes"
    return what, images + volumes


def _list_unused(results: Path) -> None:
    from mammofast.screening import open_results

    for row in open_results(results).images().to_pylist():
        if row["status"] != "done":
            # The hash too: two damaged copies of one image share its UID.
            click.echo(
                f"{row['status']}: {row['sop_uid'] or '-'}: {row['reason']} (SHA-256 {row['content_sha256'] or '-'})",
                err=True,
            )
