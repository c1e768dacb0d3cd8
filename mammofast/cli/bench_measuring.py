"""What the commands of ``mammofast bench`` share: their options, and what is done with what they measure."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mammofast.cli.progress import progress
from mammofast.errors import ProfilingError
from mammofast.objects import ObjectPath, place

if TYPE_CHECKING:
    from mammofast.profiling.record import Case, Record


class _File(click.Path):
    """A file to write: an object's path would be taken for a folder called ``s3:``."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if isinstance(place(value), ObjectPath):
            self.fail(f"got {value}, expected a file of this machine; copy it to the object store afterwards")
        return super().convert(value, parameter, context)


FILE = _File(path_type=Path, dir_okay=False, writable=True)


def measuring(kind: str) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Give a command the options that all of them have; it returns (cases, packages) and the rest is done here."""

    def decorate(command: Callable[..., Any]) -> Callable[..., None]:
        @click.option(
            "--seconds",
            default=3.0,
            show_default=True,
            type=click.FloatRange(0, min_open=True),
            help="How long each way of doing a case is measured.",
        )
        @click.option(
            "--warm-up", default=0.5, show_default=True, type=click.FloatRange(0), help="Seconds before that."
        )
        @click.option("--json", "json_file", type=FILE, help="Write all samples to this file.")
        @click.option(
            "--compare",
            type=click.Path(path_type=Path, dir_okay=False),
            help="A file of --json: say what became slower or faster since.",
        )
        @click.option(
            "--against",
            type=click.Path(path_type=Path),
            help="A virtual environment with another mammofast: run both in turns and judge.",
        )
        @click.option("--plot", type=FILE, help="Draw it, as PNG or SVG.")
        @click.option("--quiet", is_flag=True, help="Print nothing.")
        @click.option("--verbose", is_flag=True, help="What each case is for and what was fixed, too.")
        @wraps(command)
        def run(
            seconds: float,
            warm_up: float,
            json_file: Path | None,
            compare: Path | None,
            against: Path | None,
            plot: Path | None,
            quiet: bool,
            verbose: bool,
            **options: Any,
        ) -> None:
            from mammofast.profiling.sampling import Effort

            if against is not None and compare is not None:
                raise click.UsageError("--compare judges two runs, --against two versions: give one of the two")
            # What cannot be read, drawn or written is said before minutes are measured.
            old = None if compare is None else _old_record(compare, kind)
            if plot is not None:
                from mammofast.profiling.plots import refuse_undrawable

                refuse_undrawable(plot)
            _refuse_unwritable(json_file, plot, options.get("trace"))
            plan = Plan(*command(effort=Effort(warm_up, seconds), **options))
            if against is not None:
                record = _run_against(kind, plan, against, quiet)
            else:
                record = _measured(kind, plan, quiet, verbose)
            try:
                if old is not None and not record.interrupted:
                    record = _compared(old, record)
            finally:
                if json_file is not None:
                    record.write(json_file)
            if record.interrupted:
                raise click.Abort
            if plot is not None:
                from mammofast.profiling.plots import draw

                draw(record, plot)

        return run

    return decorate


class Plan(NamedTuple):
    """What a command measures, once it is asked for it.

    notes: what was fixed and what is not counted. machine, calibration: what else there is to say of the machine, in
    the environment, and of what it can do.
    """

    cases: Iterable["Case"]
    packages: Iterable[str]
    notes: Iterable[str] = ()
    machine: Mapping[str, Any] = MappingProxyType({})
    calibration: Mapping[str, float | None] = MappingProxyType({})


def _old_record(compare: Path, kind: str) -> "Record":
    from mammofast.profiling.record import read_record

    old = read_record(compare)
    if old.kind != kind:
        raise ProfilingError(f"compare: the old record is of `bench {old.kind}`, expected one of `bench {kind}`")
    return old


def _refuse_unwritable(*files: Path | None) -> None:
    """Make the files' folders and try each that has no such file yet; raise OSError where nothing can be written."""
    for file in files:
        if file is not None and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=file.parent).close()


def _measured(kind: str, plan: Plan, quiet: bool, verbose: bool) -> "Record":
    from mammofast.cli.bench_table import print_case, print_environment, print_forecast, print_papers

    start = _environment(plan)
    measured: list[Any] = []
    interrupted = False
    try:
        for case in plan.cases:
            measured.append(case)
            if not quiet:
                print_case(case, verbose)
    except KeyboardInterrupt as stop:
        interrupted = True
        half = getattr(stop, "case", None)
        measured += [] if half is None else [half]
    record = replace(_record(kind, plan, start, measured), interrupted=interrupted)
    if interrupted:
        return record
    if not quiet:
        print_papers(measured)
        print_forecast(measured)
        print_environment(record.environment)
    return record


def _compared(old: "Record", record: "Record") -> "Record":
    from mammofast.profiling.comparison import judged

    record, sentences = judged(old, record)
    for sentence in sentences:
        click.echo(sentence)
    return record


def _run_against(kind: str, plan: Plan, other: Path, quiet: bool) -> "Record":
    from mammofast.profiling.against import PAIRS, run_against

    start = _environment(plan)
    with progress("Pairs of runs", PAIRS, quiet) as advance:
        cases, verdicts = run_against(other, _without_against(_arguments()), progress=advance)
    for verdict in verdicts:
        click.echo(str(verdict))
    return _record(kind, plan, start, cases)


def _environment(plan: Plan) -> dict[str, Any]:
    from mammofast.profiling.environment import environment

    return {**environment(plan.packages), **plan.machine}


def _record(kind: str, plan: Plan, start: dict[str, Any], cases: Iterable["Case"]) -> "Record":
    from mammofast.profiling.ceiling import ceiling_gflops
    from mammofast.profiling.record import Record

    # Measured last: what has not been imported yet could not start threads.
    calibration = {"core_fp32_gflops": ceiling_gflops("fp32", 1), **plan.calibration}
    command = " ".join(["mammofast", *_arguments()])
    return Record(kind, command, start, tuple(cases), calibration, tuple(plan.notes))


def _arguments() -> list[str]:
    return sys.argv[1:]


def _without_against(arguments: list[str]) -> list[str]:
    """Return the command's arguments as the two versions get them."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument in ("--quiet", "--verbose"):
            skip = False
        elif argument in ("--against", "--json", "--compare", "--plot", "--trace"):
            skip = True
        elif not argument.startswith(("--against=", "--json=", "--compare=", "--plot=", "--trace=")):
            kept.append(argument)
    return kept
