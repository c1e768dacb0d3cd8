"""``mammofast bench``: where the time goes, and how far from the limit."""

import re
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mammofast.cli.bench_measuring import FILE, Plan, measuring
from mammofast.cli.progress import progress

if TYPE_CHECKING:
    from mammofast.profiling.record import Case
    from mammofast.profiling.sampling import Effort


@click.group("bench")
def bench_command() -> None:
    """Measure: the ops, the networks, the archive, the whole pipeline.

    \b
    Example: mammofast bench ops nms --json today.json
             mammofast bench ops nms --compare today.json
             mammofast bench engines demo --against ~/older-venv
    """  # noqa: D301


def _size(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    sizes = []
    for value in values:
        if not (found := re.fullmatch(r"(\d+)[x×](\d+)", value)):
            raise click.BadParameter(f"got {value!r}, expected ROWSxCOLS such as 256x256")
        sizes.append((int(found[1]), int(found[2])))
    return tuple(sizes)


def _run(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    runs = []
    for value in values:
        backend, _, precision = value.partition(":")
        runs.append((backend, precision or "fp32"))
    return tuple(runs)


@bench_command.command("ops")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True, help="Where ops run.")
@measuring("ops")
def ops_command(names: tuple[str, ...], device: str, effort: "Effort") -> Plan:
    """Time ops (all by default) beside the libraries that do the same and are installed here.

    \b
    Example: mammofast bench ops nms fuse_boxes --json ops.json
             mammofast bench ops nms --device cuda

    Every way's result is checked against ours before anything is timed, the card's against the CPU's. On the CPU all
    have one core. On a card, times are the card's own (read with torch or CuPy), and each case says what part of the
    rate of a plain copy it reaches. The names are those of mammofast.ops, on a card of its device forms.
    """  # noqa: D301
    if device == "cuda":
        return _ops_on_card(names, effort)
    from mammofast.profiling.ops import NOTES, OPS, PACKAGES, op_cases

    _refuse_others(names, OPS)
    return Plan(op_cases(names, effort), PACKAGES, NOTES)


def _ops_on_card(names: tuple[str, ...], effort: "Effort") -> Plan:
    from mammofast.profiling.device.bandwidth import copy_rates
    from mammofast.profiling.device.card import open_card
    from mammofast.profiling.ops.device import NOTES, OPS, PACKAGES, op_cases

    _refuse_others(names, OPS)
    card = open_card()
    rates = copy_rates(card)
    machine = {"card": card.name, "clock": card.clock, "l2_bytes": card.l2_bytes}
    calibration = {} if rates is None else rates.calibration()
    return Plan(op_cases(names, effort, card, rates), PACKAGES, NOTES, machine, calibration)


def _refuse_others(names: Iterable[str], known: Iterable[str]) -> None:
    if unknown := set(names) - set(known):
        raise click.BadParameter(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(known)}")


@bench_command.command("engines")
@click.argument("targets", nargs=-1)
@click.option("--case", help="A paper's table: table-6 (P2's networks at 256 × 256).")
@click.option(
    "--run",
    "runs",
    multiple=True,
    callback=_run,
    metavar="BACKEND[:PRECISION]",
    help="Say onnxruntime, openvino:bf16; may be given again. [default: the bundle's own, or onnxruntime]",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    default=(1,),
    type=click.IntRange(1),
    show_default=True,
    help="Images in one run; may be given again.",
)
@click.option("--size", "sizes", multiple=True, callback=_size, metavar="ROWSxCOLS", help="May be given again.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Of one run.")
@click.option("--eager", is_flag=True, help="Beside PyTorch, one image at a time.")
@click.option(
    "--width",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Of a catalogue's network: a factor on its channels.",
)
@measuring("engines")
def engines_command(
    targets: tuple[str, ...],
    case: str | None,
    runs: tuple[tuple[str, str], ...],
    batches: tuple[int, ...],
    sizes: tuple[tuple[int, int], ...],
    threads: int,
    eager: bool,
    width: float,
    effort: "Effort",
) -> Plan:
    """Time TARGETS: bundles, networks that `mammofast models` lists, ONNX files; the demo bundle by default.

    \b
    Example: mammofast bench engines demo --run onnxruntime --run openvino:bf16
             mammofast bench engines --case table-6 --eager

    A share of the ceiling is that of multiply-adds in registers, measured on as many cores as there are threads.
    """  # noqa: D301
    from mammofast.profiling import engines

    if case is not None and sizes:
        raise click.UsageError("--case has the size of its paper's table: leave --size out")
    if case is None and not targets:
        targets = ("demo",)
    subjects = [engines.of_target(target, sizes, eager=eager, width=width) for target in targets]
    if case is not None:
        subjects.append(engines.of_paper(case, eager=eager, width=width))
    chained = (subject for several in subjects for subject in several)
    cases = engines.engine_cases(chained, effort, runs=runs, batches=batches, threads=threads)
    return Plan(cases, engines.PACKAGES, engines.NOTES)


@bench_command.command("archive")
@measuring("archive")
def archive_command(effort: "Effort") -> Plan:
    """Time decoding in each transfer syntax, and writing and reading an image in several layouts.

    \b
    Example: mammofast bench archive --seconds 1
    """  # noqa: D301
    from mammofast.profiling.archive import NOTES, PACKAGES, archive_cases

    return Plan(archive_cases(effort), PACKAGES, NOTES)


@bench_command.command("pipeline")
@click.argument("archive", required=False, type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--bundle", default="demo", show_default=True, help="What to screen with: a bundle's folder, or 'demo'.")
@click.option("--studies", type=click.IntRange(1), help="Phantoms to make where no archive is given.  [default: 10]")
@click.option("--workers", type=click.IntRange(1), help="Processes on this machine.  [default: one per core]")
@click.option(
    "--rounds", default=3, show_default=True, type=click.IntRange(1), help="How often it is screened, at least."
)
@click.option("--trace", type=FILE, help="Write what every process did, and when, for Perfetto (ui.perfetto.dev).")
@click.option(
    "--simulate", metavar="CARD", help="Measure nothing: forecast P4's pipeline on 1, 8, 64 of a card (h200)."
)
@measuring("pipeline")
def pipeline_command(
    archive: Path | None,
    bundle: str,
    studies: int | None,
    workers: int | None,
    rounds: int,
    trace: Path | None,
    simulate: str | None,
    effort: "Effort",
) -> Plan:
    """Screen ARCHIVE, or phantoms made for it, several times into folders that are removed; say what limits it.

    \b
    Example: mammofast bench pipeline archive.zarr --bundle demo --trace trace.json
             mammofast bench pipeline --studies 10 --workers 2
             mammofast bench pipeline --simulate h200 --trace trace.json

    Rates are those from when the first worker begins to when the last one ends; starting and stopping them is not in
    it. With a --warm-up above 0 a first round is not counted.
    """  # noqa: D301
    if simulate is not None:
        return _forecast(simulate, archive, studies, trace)
    from mammofast.profiling.pipeline import NOTES, PACKAGES

    if archive is not None and studies is not None:
        raise click.UsageError("--studies makes phantoms where no archive is given: give one of the two")
    quiet = bool(click.get_current_context().params["quiet"])
    cases = _pipeline_cases(archive, bundle, studies or 10, workers, rounds, trace, quiet, effort)
    return Plan(cases, PACKAGES, NOTES)


def _forecast(card: str, archive: Path | None, studies: int | None, trace: Path | None) -> Plan:
    from mammofast.pipeline.model import CARDS
    from mammofast.profiling.forecast import NOTES, forecast_cases

    if card not in CARDS:
        raise click.BadParameter(f"--simulate: got {card!r}, expected one of {', '.join(CARDS)}")
    if archive is not None or studies is not None:
        raise click.UsageError("--simulate reads no images: give no archive and no --studies")
    return Plan(forecast_cases(card, trace), (), NOTES)


def _pipeline_cases(
    archive: Path | None,
    bundle: str,
    studies: int,
    workers: int | None,
    rounds: int,
    trace: Path | None,
    quiet: bool,
    effort: "Effort",
) -> Iterable["Case"]:
    from mammofast.archive import open_archive
    from mammofast.profiling.pipeline import phantom_archive, pipeline_case

    with ExitStack() as stack:
        if archive is not None:
            what = f"archive {open_archive(archive).archive_id[:8]}"
        else:
            what = f"{studies} phantom studies"
            # Every image is counted twice: written, and taken into the archive.
            with progress("Making phantoms (steps)", 8 * studies, quiet) as advance:
                archive, took = stack.enter_context(phantom_archive(studies, progress=advance))
            if not quiet:
                click.echo(f"Making {4 * studies} phantom images took {took:.0f} s", err=True)
        with progress("Screening (rounds)", rounds, quiet) as advance:
            case = pipeline_case(
                archive, what, effort, bundle=bundle, workers=workers, rounds=rounds, trace=trace, progress=advance
            )
    yield case
