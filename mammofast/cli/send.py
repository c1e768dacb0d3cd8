"""``mammofast send``: DICOM objects to a PACS."""

import json
from pathlib import Path

import click

from mammofast.cli.progress import aside, progress
from mammofast.cli.serve import TLS
from mammofast.cli.status import SOME_FAILED


@click.command("send")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path, file_okay=False))
@click.argument("destination", metavar="URL|AET@HOST:PORT")
@click.option(
    "--ca", type=click.Path(path_type=Path, dir_okay=False), help="CA certificates an https URL is trusted by."
)
@click.option("--calling", default="MAMMOFAST", show_default=True, metavar="AET", help="Our title, for AET@HOST:PORT.")
@TLS
@click.option("--json", "as_json", is_flag=True, help="Print the counts and reasons as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, and nothing said unless something failed.")
@click.option("--verbose", is_flag=True, help="List the PACS' warnings, too.")
@click.pass_context
def send_command(
    ctx: click.Context,
    folder: Path,
    destination: str,
    ca: Path | None,
    calling: str,
    tls: tuple[Path, Path, Path] | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Send the DICOM files (*.dcm) under DIR to a PACS, by DICOMweb or C-STORE.

    \b
    Example: mammofast send objects https://pacs:8443/dicom-web
    Example: mammofast send objects PACS@10.0.0.7:104

    What the PACS has already is not sent: run it again after any failure. Who we are, a DICOMweb server is told from
    MAMMOFAST_PACS_USER and MAMMOFAST_PACS_PASSWORD, MAMMOFAST_PACS_TOKEN or .netrc. Exit status 3 when it refused some.
    """  # noqa: D301
    from mammofast.pacs import is_url
    from mammofast.pacs.sending import SendReport, outgoing

    report, told = SendReport(), None if quiet else aside
    objects = outgoing(folder, report)
    if not objects and not report.failed:
        raise click.UsageError("there is no *.dcm file under DIR; write some with `mammofast report`")
    try:
        if is_url(destination):
            from mammofast.pacs.dicomweb.address import parse_url

            root = parse_url(destination).root
        else:
            from mammofast.pacs.dimse.entity import Credentials, checked_aet, parse_peer

            peer, title = parse_peer(destination), checked_aet(calling)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        with progress("Sending objects", len(objects), quiet) as advance:
            if is_url(destination):
                from mammofast.pacs.dicomweb import store
                from mammofast.pacs.dicomweb.server import Server

                with Server(root, ca, tell=told) as server:
                    if server.credentials_are_exposed:
                        click.echo("mammofast: user, password or token can be read on their way: it is http", err=True)
                    store(server, objects, report, progress=advance)
            else:
                from mammofast.pacs.dimse.send import send

                secured = Credentials(*tls) if tls else None
                send(peer, objects, report, calling=title, tls=secured, progress=advance, tell=told)
    finally:
        # Also of a run that could not go on: what is there is there.
        if as_json:
            click.echo(json.dumps(report.as_dict()))
        elif not quiet or report.failed:
            click.echo(str(report))
        for sop_uid, reason in report.failures.items():
            click.echo(f"failed: {sop_uid}: {reason}", err=True)
        if verbose:
            for sop_uid, reason in report.warnings.items():
                click.echo(f"warning: {sop_uid}: {reason}", err=True)
    if report.failed:
        ctx.exit(SOME_FAILED)
