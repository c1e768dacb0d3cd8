"""``mammofast archive``: what an archive holds, and whether it still does."""

import json
from collections import Counter
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import click

from mammofast.cli.progress import progress
from mammofast.cli.status import SOME_FAILED
from mammofast.cli.words import counted

_ARCHIVE = click.argument("archive", type=click.Path(exists=True, path_type=Path, file_okay=False))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")


@click.group("archive")
def archive_command() -> None:
    """Look into an archive.

    \b
    Example: mammofast archive info archive.zarr
    """  # noqa: D301


@archive_command.command("info")
@_ARCHIVE
@_JSON
@click.option("--quiet", is_flag=True, help="Print nothing: the exit status says whether there is an archive.")
@click.option("--verbose", is_flag=True, help="Say what the bytes are of, too.")
def info_command(archive: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Say how much an archive holds, and of what.

    \b
    Example: mammofast archive info archive.zarr
    """  # noqa: D301
    from mammofast.archive import open_archive

    opened = open_archive(archive)
    if quiet and not as_json:
        return
    records = [image.record for image in opened.images()]
    volumes = [volume.record for volume in opened.volumes()]
    skipped = list(opened.skipped())
    facts: dict[str, Any] = {
        "archive_id": opened.archive_id,
        "studies": len({r.study_uid for r in records} | {r.study_uid for r in volumes}),
        "images": len(records),
        "volumes": len(volumes),
        "views": _counts(f"{record.laterality or '?'} {record.view or '?'}" for record in records),
        "sizes": _counts(f"{record.rows} x {record.cols}" for record in records),
        "volume_sizes": _counts(f"{r.phases} x {r.slices} x {r.rows} x {r.cols}" for r in volumes),
        "presentation_intents": _counts(record.presentation_intent or "?" for record in records),
        "transfer_syntaxes": _counts(
            chain(
                (record.transfer_syntax_uid for record in records),
                (syntax for volume in volumes for syntax in volume.transfer_syntax_uids),
            )
        ),
        "skipped": _counts(record.reason.partition(":")[0] for record in skipped if record.status == "skipped"),
        "failed": _counts(record.reason.partition(":")[0] for record in skipped if record.status == "failed"),
        "bytes": sum(path.stat().st_size for path in archive.rglob("*") if path.is_file()),
    }
    if verbose:
        facts["bytes_by_array"] = _bytes_by_array(archive)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        shown = ", ".join(f"{key} ({count})" for key, count in value.items()) or "none" if name in _COUNTED else value
        click.echo(f"{name.replace('_', ' '):<21} {shown}")


@archive_command.command("list")
@_ARCHIVE
@click.option("--skipped", is_flag=True, help="List the files that are not kept instead, with reasons.")
@_JSON
@click.option("--quiet", is_flag=True, help="Nothing but SOP Instance UIDs, or the keys of the files, one a line.")
@click.option("--verbose", is_flag=True, help="All that is known of each.")
def list_command(archive: Path, skipped: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List an archive's images, or the files it does not keep and why.

    \b
    Example: mammofast archive list archive.zarr --skipped
    """  # noqa: D301
    from mammofast.archive import open_archive

    opened = open_archive(archive)
    if skipped:
        rows = [{**record.as_dict(), "key": record.key} for record in opened.skipped()]
        columns: tuple[str, ...] = ("status", "reason", "study_uid", "sop_uid", "key")
    else:
        rows = [image.record.as_dict() for image in opened.images()]
        rows += [volume.record.as_dict() for volume in opened.volumes()]
        columns = ("study_uid", "sop_uid", "laterality", "view", "rows", "cols", "presentation_intent")
        columns += ("slices", "phases") if any("phases" in row for row in rows) else ()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if quiet:
        columns = ("key",) if skipped else ("sop_uid",)
    for row in rows:
        if verbose:
            click.echo("  ".join(f"{name}={value}" for name, value in row.items() if value is not None))
        else:
            click.echo("  ".join(str(row.get(column) or "-") for column in columns))


@archive_command.command("verify")
@_ARCHIVE
@_JSON
@click.option("--quiet", is_flag=True, help="No progress, and nothing said unless something is wrong.")
@click.option("--verbose", is_flag=True, help="Name each problem's study, too.")
@click.pass_context
def verify_command(ctx: click.Context, archive: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Read every image of an archive again: hashes, coarse levels, headers. Exit status 3 when any is wrong.

    \b
    Example: mammofast archive verify archive.zarr
    """  # noqa: D301
    from mammofast.archive import open_archive
    from mammofast.archive.store import image_folders
    from mammofast.archive.verify import verify
    from mammofast.archive.volumes.store import volume_folders

    opened = open_archive(archive)
    total, volumes = sum(1 for _ in image_folders(archive)), sum(1 for _ in volume_folders(archive))
    with progress("Verifying images", total + volumes, quiet) as advance:
        problems = list(verify(opened, advance))
    if as_json:
        found = {"images": total, "volumes": volumes, "problems": [asdict(problem) for problem in problems]}
        click.echo(json.dumps(found, indent=2))
    else:
        for problem in problems:
            study = f"{problem.study_uid or '-'}: " if verbose else ""
            click.echo(f"{study}{problem.sop_uid or '-'}: {problem.detail}", err=True)
        if not quiet or problems:
            also = f", {counted(volumes, 'volume')}" if volumes else ""
            click.echo(f"{counted(total, 'image')}{also} verified, {counted(len(problems), 'problem')}")
    if problems:
        ctx.exit(SOME_FAILED)


_COUNTED = frozenset(
    {
        *("views", "sizes", "volume_sizes", "presentation_intents", "transfer_syntaxes"),
        *("skipped", "failed", "bytes_by_array"),
    }
)


def _bytes_by_array(archive: Path) -> dict[str, int]:
    """Return the sizes of all images' levels ("0", "1", ...) and headers, of "volumes", of what is still "waiting" for
    the rest of its volume, and of the rest ("records").
    """
    sizes: Counter[str] = Counter()
    for path in archive.rglob("*"):
        parts = path.relative_to(archive).parts
        if path.is_file():
            # images/STUDY_UID/SOP_UID/ARRAY/...
            name = parts[3] if parts[0] == "images" and len(parts) > 4 else "records"
            sizes[parts[0] if parts[0] in ("volumes", "waiting") else name] += path.stat().st_size
    return dict(sorted(sizes.items()))


def _counts(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
