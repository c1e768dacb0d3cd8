"""``mammofast evaluate``: results against the truth."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from mammofast.cli.evaluate_printing import (
    print_baselines,
    print_comparison,
    print_groups,
    print_measures,
    print_tables,
    run_name,
)
from mammofast.cli.naming import may_name
from mammofast.cli.progress import progress

_PAPERS = ("p1", "p2", "p3", "p4")
_OF_VOLUMES = "p5"
_BY = ("size", "shape", "margin", "birads", "subtlety", "pathology", "density", "view", "laterality")
_BASELINES = ("threshold", "level-set", "graph-cut")


@click.command("evaluate")
@click.argument("results", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option(
    "--truth",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of SOP_INSTANCE_UID.png: 8-bit, native size, 0 = no mass, k = mass k; of volumes .npy: uint8, "
    "0 = outside, 1 = breast, 1 + k = mass k; or a data set, see --layout.",
)
@click.option(
    "--layout",
    type=click.Choice(["png", "inbreast", "cbis-ddsm", "vindr-mammo", "phantoms"]),
    default="png",
    show_default=True,
    help="How the truth lies there. INbreast's outlines need the extra [evaluation].",
)
@click.option("--split", metavar="FILE#K", help="Only images that test in this split of the data set, the first is #1.")
@click.option("--bundle-id", help="Which bundle's results, where there are several.")
@click.option("--settings-id", help="Which settings' results, where there are several.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON to this file.")
@click.option(
    "--table",
    type=click.Choice(["auto", *_PAPERS, _OF_VOLUMES, "all"]),
    is_flag=False,
    flag_value="auto",
    help="Measure masks too, beside a paper's tables; by itself those of the bundle's method. Needs [evaluation].",
)
@click.option(
    "--by", type=click.Choice(_BY), multiple=True, help="Tell masses apart by this; may be given several times."
)
@click.option(
    "--against",
    type=click.Path(path_type=Path, file_okay=False),
    help="Other results, of the same images: differences, and Wilcoxon's signed-rank test.",
)
@click.option(
    "--against-bundle-id", help="Which bundle's of these, where there are several; RESULTS itself may be given."
)
@click.option(
    "--baseline",
    type=click.Choice([*_BASELINES, "all"]),
    multiple=True,
    help="Segment the data set's images by P1's classic means too; RESULTS may be left out then.",
)
@click.option(
    "--unaided",
    is_flag=True,
    help="Level set and graph cut start by themselves; in P1 a person points to the mass.",
)
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="Draw pictures into this folder.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
@click.option(
    "--verbose",
    is_flag=True,
    callback=may_name,
    help="Print the FROC curve's usual points too; name a data set's file that is wrong.",
)
def evaluate_command(
    results: Path | None,
    truth: Path,
    layout: str,
    split: str | None,
    bundle_id: str | None,
    settings_id: str | None,
    json_file: Path | None,
    table: str | None,
    by: tuple[str, ...],
    against: Path | None,
    against_bundle_id: str | None,
    baseline: tuple[str, ...],
    unaided: bool,
    plots: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure RESULTS where the truth is known.

    \b
    Example: mammofast evaluate results --truth phantoms/truth --json measures.json
             mammofast evaluate results --truth INbreast --layout inbreast --table --by size --plots pictures

    A finding's box finds a mass at an IoU of 0.5 or more; in a volume above 0.5, as P5 has it. Intervals are 95 %, by
    bootstrap over patients, or over studies where the truth names no patients.
    """  # noqa: D301
    from mammofast.cli.evaluate_volumes import evaluate_volumes, of_volumes
    from mammofast.evaluation import compare, measure, open_truth, summarize
    from mammofast.evaluation.tables import paper_tables, tables_of

    _check(results, layout, table, by, against, baseline, unaided, plots)
    if results is not None and of_volumes(results, bundle_id, settings_id):
        if by or baseline or plots or layout != "png":
            raise click.UsageError("--by, --baseline, --plots and --layout are of images, RESULTS of volumes.")
        if table in _PAPERS:
            raise click.UsageError(f"--table {table} is of images; of volumes there is {_OF_VOLUMES}.")
        which = (split, bundle_id, settings_id, against, against_bundle_id)
        measures = evaluate_volumes(results, truth, *which, table=bool(table), quiet=quiet, verbose=verbose)
        if json_file is not None:
            _write(json_file, measures)
        return
    if table == _OF_VOLUMES:
        raise click.UsageError(f"--table {table} is of volumes; of images there are p1, p2, p3 and p4.")
    known = open_truth(truth, layout, split)
    masks = bool(table or against or plots)
    content: dict[str, Any] = {}
    systems: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    for path, bundle, settings in ((results, bundle_id, settings_id), (against, against_bundle_id, None)):
        if path is None:
            continue
        with progress("Measuring images", quiet=quiet) as advance:
            found = measure(path, known, bundle_id=bundle, settings_id=settings, masks=masks, progress=advance)
        measured[run_name(found.run, measured)] = found
    if results is not None:
        first, ours = next(iter(measured.items()))
        content = summarize(ours, by=by)
        systems[first] = content
    if against is not None:
        content["against"] = compare(*measured.values())
    if baseline:
        content["baselines"] = _baselines(known, baseline, unaided, quiet)
        systems |= content["baselines"]
    if table:
        of_ours = ("p1",) if results is None else tables_of(ours.run.get("method"), first)
        papers = {"all": _PAPERS, "auto": of_ours}.get(table, (table,))
        content["tables"] = {paper: [t.as_dict() for t in paper_tables(paper, systems)] for paper in papers}
    if json_file is not None:
        _write(json_file, content)
    if plots is not None:
        from mammofast.evaluation.plots import draw

        draw(plots, measured, content.get("by"))
    if not quiet:
        if results is not None:
            print_measures(content, verbose)
            print_groups(content.get("by", {}))
        if against is not None:
            print_comparison(content["against"], list(measured))
        if table:
            print_tables([t for paper in papers for t in paper_tables(paper, systems)])
        elif baseline:
            print_baselines(content["baselines"])


def _check(
    results: Path | None,
    layout: str,
    table: str | None,
    by: Sequence[str],
    against: Path | None,
    baseline: Sequence[str],
    unaided: bool,
    plots: Path | None,
) -> None:
    """Refuse what does not go together, and what needs a package that is not there."""
    if results is None and not baseline:
        raise click.UsageError("Missing argument 'RESULTS', or option '--baseline'.")
    if results is None and (by or against or plots):
        raise click.UsageError("--by, --against and --plots are of RESULTS, which is missing.")
    if baseline and layout == "png":
        raise click.UsageError("--baseline segments a data set's images: give the data set and its --layout.")
    if unaided and not baseline:
        raise click.UsageError("--unaided is of --baseline.")
    needed = []
    if table or against or plots or baseline:
        needed += ["scipy", "skimage"]
    if layout == "inbreast":
        needed.append("skimage")
    if plots:
        needed.append("matplotlib")
    if any(find_spec(name) is None for name in needed):
        raise ImportError('SciPy, scikit-image and matplotlib are needed for this: pip install "mammofast[evaluation]"')


def _baselines(known: Any, names: Sequence[str], unaided: bool, quiet: bool) -> dict[str, Any]:
    from mammofast.evaluation.baselines.run import measure_baselines

    chosen = _BASELINES if "all" in names else tuple(dict.fromkeys(names))
    with progress("Segmenting images", quiet=quiet) as advance:
        return measure_baselines(chosen, known.samples, told=not unaided, progress=advance)


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.FileError(str(path), error.strerror or "") from error
