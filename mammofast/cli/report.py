"""``mammofast report``: results as people, other programs and a PACS read them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mammofast.cli.progress import progress
from mammofast.cli.words import counted
from mammofast.errors import ArchiveError

if TYPE_CHECKING:
    from mammofast.report.dicom.deidentify import Deidentifier

_TABLES = ("csv", "parquet", "json")
_OBJECTS = ("cad-sr", "dicom-seg", "tid1500", "gsps", "picture")
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("report")
@click.argument("results", type=_FOLDER)
@click.option(
    "--to",
    "forms",
    required=True,
    multiple=True,
    type=click.Choice(["html", *_TABLES, *_OBJECTS]),
    help="What to write; may be given several times.",
)
@click.option("--out", required=True, type=_FOLDER, help="A folder.")
@click.option("--archive", type=_FOLDER, help="Where the archive is, if it moved.")
@click.option("--bundle-id", help="DICOM: which run, where RESULTS holds several; its first digits will do.")
@click.option("--settings-id", help="DICOM: the same by its settings.")
@click.option("--deidentify", is_flag=True, help="DICOM: by PS3.15's basic profile, as new patients, to a new folder.")
@click.option(
    "--deidentify-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A secret file: the same one gives the same pseudonyms and UIDs again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.option("--quiet", is_flag=True, help="Say nothing.")
@click.option("--verbose", is_flag=True, help="Say how many images and findings there are.")
def report_command(
    results: Path,
    forms: tuple[str, ...],
    out: Path,
    archive: Path | None,
    bundle_id: str | None,
    settings_id: str | None,
    deidentify: bool,
    deidentify_key: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write RESULTS as a page, as tables or as DICOM objects.

    \b
    Examples: mammofast report results --to html --out report
              mammofast report results --to cad-sr --to dicom-seg --to gsps --out dicom

    html is one page, index.html, that needs nothing beside it. csv, parquet and json are two tables, findings and
    images.

    DICOM objects become OUT/STUDY UID/SOP UID.dcm: a Mammography CAD SR for every study (cad-sr); where there are
    findings a measurement report (tid1500), and for each image a segmentation (dicom-seg), a presentation state (gsps)
    and a picture (picture). A volume has a segmentation of breast region and candidates, which tid1500 brings along.
    Objects name the images and one another; the same results give the same files.
    """  # noqa: D301
    from mammofast.screening import open_results

    if out.parts[:1] == ("s3:",):
        raise click.UsageError("--out: got an address on s3://, expected a folder; copy it to the store from there")
    others = [form for form in dict.fromkeys(forms) if form not in _OBJECTS]
    if others and (deidentify or deidentify_key):
        raise click.UsageError(
            f"got --deidentify and --to {', '.join(others)}, expected DICOM objects alone: page and tables bear the "
            "images' own UIDs; write them by a call of their own, to another folder"
        )
    opened = open_results(results)
    deidentifier = _deidentifier(out, deidentify_key) if deidentify or deidentify_key else None
    kinds = [form for form in dict.fromkeys(forms) if form in _OBJECTS]
    if kinds:  # before anything is written
        from mammofast.archive import open_archive
        from mammofast.report.dicom.study import choose_run

        choose_run(opened, bundle_id, settings_id)
        try:
            open_archive(archive or opened.archive_path)
        except ArchiveError as error:
            raise ArchiveError(f"{error}; where it moved, say with --archive where it is now") from None
    written: list[Path] = []
    said: dict[str, Any] = {}
    for form in others:
        if form == "html":
            from mammofast.report.html import archive_of, write_html

            if archive_of(opened, archive) is None and not quiet:
                click.echo(
                    "mammofast: the archive is not where it was screened: the page shows outlines and no pictures; "
                    "where it moved, say with --archive where it is now",
                    err=True,
                )
            with progress("Drawing studies", quiet=quiet) as advance:
                written.append(write_html(results, out, archive, progress=advance))
        else:
            from mammofast.report.tables import write_tables

            written += write_tables(results, out, form)
    if kinds:
        from mammofast.report.dicom.export import OF_MAMMOGRAMS, export

        with progress("Writing studies", quiet=quiet) as advance:
            exported = export(
                results,
                out,
                kinds,
                archive=archive,
                bundle_id=bundle_id,
                settings_id=settings_id,
                deidentify=deidentifier,
                progress=advance,
            )
        said = {
            "studies": exported.studies,
            "objects": dict(exported.objects),
            "unchanged": len(exported.unchanged),
            "withheld": exported.withheld,
            "mixed_studies": exported.mixed_studies,
            "volumes": exported.volumes,
            "not_of_volumes": [kind for kind in kinds if kind in OF_MAMMOGRAMS] if exported.volumes else [],
        }
        written += exported.written
    if verbose:
        click.echo(
            f"{counted(opened.images().num_rows, 'image')}, {counted(opened.findings().num_rows, 'finding')}", err=True
        )
    if as_json:
        paths = [str(path) for path in written]
        click.echo(json.dumps({"written": paths, **said, "notices": opened.notices()}))
    elif not quiet:
        _tell(written, said, out)
        for notice in opened.notices():
            click.echo(notice, err=True)


def _deidentifier(out: Path, key: Path | None) -> "Deidentifier":
    from mammofast.report.dicom.deidentify import Deidentifier, check_folder, read_key

    secret = None if key is None else read_key(key)
    try:
        check_folder(out, secret)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Deidentifier(secret)


def _tell(written: list[Path], said: dict[str, Any], out: Path) -> None:
    # Every form of tables has the same notice beside it.
    for path in dict.fromkeys(path for path in written if path.suffix != ".dcm"):
        click.echo(str(path))
    if said:
        kinds = ", ".join(f"{number} {kind}" for kind, number in said["objects"].items()) or "no object"
        click.echo(
            f"{out}: {kinds} of {counted(said['studies'], 'study', 'studies')}; {said['unchanged']} were there already"
        )
        if said["mixed_studies"]:
            click.echo(
                f"{counted(said['mixed_studies'], 'study', 'studies')} left out: their images name several patients; "
                "`mammofast archive verify` lists them",
                err=True,
            )
        if said["not_of_volumes"]:
            click.echo(
                f"{', '.join(said['not_of_volumes'])}: of mammograms only; of a volume --to dicom-seg and "
                f"--to tid1500 can be written ({said['volumes']} here)",
                err=True,
            )
        if said["withheld"]:
            click.echo(f"{said['withheld']} pictures left out: the patient's name may be burnt into them", err=True)
