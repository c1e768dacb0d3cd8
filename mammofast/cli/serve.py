"""``mammofast serve``: mammograms and MR received from a PACS or a modality."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mammofast.archive import IngestReport
    from mammofast.pacs.dimse.receive import Receiver

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
TLS = click.option(
    "--tls", nargs=3, type=FILE, metavar="CERT KEY CA", help="TLS: our certificate and key, and the other side's CA."
)
MODALITY = click.option(
    "--modality",
    "modalities",
    multiple=True,
    type=click.Choice(["MG", "MR"]),
    help="What to take: mammograms, MR; may be given again.  [default: MG]",
)


@click.command("serve")
@click.argument("archive", type=click.Path(path_type=Path, file_okay=False))
@click.option("--aet", required=True, help="Our application entity's title.")
@click.option("--port", required=True, type=click.IntRange(0, 65535), help="TCP port; 0 takes a free one.")
@click.option("--bind", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all.")
@click.option("--allow", multiple=True, metavar="AET", help="Who may send; may be given again.  [default: anybody]")
@MODALITY
@TLS
@click.option("--workers", type=click.IntRange(1), help="Threads that decode.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="Print what happens as lines of JSON.")
@click.option("--quiet", is_flag=True, help="Nothing said unless something failed.")
@click.option("--verbose", is_flag=True, help="Say what is accepted, too.")
def serve_command(
    archive: Path,
    aet: str,
    port: int,
    bind: str,
    allow: tuple[str, ...],
    modalities: tuple[str, ...],
    tls: tuple[Path, Path, Path] | None,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Receive mammograms, or MR, by DICOM C-STORE into ARCHIVE, until Ctrl-C or SIGTERM.

    \b
    Example: mammofast serve --aet MAMMOFAST --port 11112 --bind 0.0.0.0 --allow PACS archive.zarr
    Example: mammofast serve --aet MAMMOFAST --port 11112 --modality MG --modality MR archive.zarr

    An object is on the disk before its sender hears of success, and in the archive as soon as senders pause. May be
    killed at any moment: a new start goes on with what was received.
    """  # noqa: D301
    from mammofast.cli.allocator import keep_memory_flat
    from mammofast.pacs.dimse.entity import Credentials, checked_aet
    from mammofast.pacs.dimse.receive import Receiver
    from mammofast.pacs.dimse.serve import serve
    from mammofast.screening.stopping import interruptible

    keep_memory_flat()
    try:
        for title in (aet, *allow):
            checked_aet(title)
    except ValueError as error:
        raise click.UsageError(str(error)) from None

    def listening(receiver: "Receiver") -> None:
        if as_json:
            click.echo(json.dumps({"aet": aet, "bind": bind, "port": receiver.port}))
        elif not quiet:
            click.echo(f"{aet} listens on {bind}, port {receiver.port}{', with TLS' if tls else ''}; Ctrl-C ends")
        if verbose:
            click.echo(
                f"Accepted are {len(receiver.sop_classes)} SOP classes: {', '.join(receiver.sop_classes)}", err=True
            )

    def ingested(report: "IngestReport") -> None:
        if as_json:
            click.echo(json.dumps(asdict(report)))
        elif not quiet or report.failed:
            click.echo(f"{report.files} received: {report}")

    with interruptible() as interrupted:
        serve(
            archive,
            lambda spool: Receiver(
                spool,
                aet,
                port,
                bind,
                allow,
                Credentials(*tls) if tls else None,
                tuple(dict.fromkeys(modalities)) or ("MG",),
            ),
            stop=lambda: bool(interrupted),
            listening=listening,
            ingested=ingested,
            workers=workers,
        )
