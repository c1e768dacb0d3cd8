"""One short table of what became of the steps and of what was measured, beside what issue and README promise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.gpu.steps import Run
from bench.gpu.table_networks import engines, pipeline
from bench.gpu.work import RECORD
from mammofast.errors import ProfilingError
from mammofast.profiling.record import Case, read_record

NOT_MEASURED, EMULATED = "not measured", "emulated"


@dataclass(frozen=True)
class Target:
    """What a case has to reach. reached: its number, as words and as a verdict."""

    words: str
    reached: Callable[[Case], tuple[str, bool]]


def _at_most_us(most: float) -> Target:
    def reached(case: Case) -> tuple[str, bool]:
        found = 1e3 * case.statistics[case.ours]["p50"]
        return f"{found:.3g} µs", found <= most

    return Target(f"≤ {most:.0f} µs", reached)


def _times_faster(least: float) -> Target:
    """Than the fastest of the others."""

    def reached(case: Case) -> tuple[str, bool]:
        ours = case.statistics[case.ours]["p50"]
        others = [values["p50"] for name, values in case.statistics.items() if name != case.ours]
        if not others:
            return "no peer here", False
        return f"{min(others) / ours:.3g} ×", min(others) / ours >= least

    return Target(f"≥ {least:.0f} × its peer", reached)


def _share_of_copy(least: float) -> Target:
    def reached(case: Case) -> tuple[str, bool]:
        found = float(case.facts.get("share_of_copy", 0))
        # Out of the cache a share of a copy in memory would be no share of anything.
        return f"{found:.0%}", found >= least and case.facts.get("served_from") == "memory"

    return Target(f"≥ {least:.0%} of a copy", reached)


TARGETS = {
    "fuse_boxes, 64 images of 50": _at_most_us(30),
    "nms, uniform, 10000": _times_faster(3),
    "nms, clustered, 10000": _times_faster(3),
    "detection_inputs, 32 x 2048 x 1664": _share_of_copy(0.7),
    "paste_masks, 32 dense": _share_of_copy(0.7),
    "paste_masks, 512 packed": _share_of_copy(0.7),
}


def table(run: Run) -> str:
    """Return it as Markdown, from what lies in the run's folder."""
    lines = _rows(
        ("step", "", "", "s"), [(each.step, each.status, each.words, f"{each.seconds:.0f}") for each in run.outcomes]
    )
    lines += engines(run.out, _rows) + pipeline(run.out, _rows)
    try:
        record = read_record(run.out / RECORD)
    except ProfilingError:
        return "\n".join([*lines, "", "Of the ops nothing was measured.", ""])
    emulated = any(case.facts.get("emulated") for case in record.cases)
    if emulated:
        lines += ["", "EMULATED ON THE HOST: results were compared, no figure says anything of a card."]
    else:
        rates = record.calibration
        lines += [
            "",
            f"{record.environment.get('card')}: a copy of 1 GiB {rates['copy_gb_per_s']:.0f} GB/s, "
            f"in the L2 cache {rates['l2_copy_gb_per_s']:.0f} GB/s (bytes read and written)",
        ]
    heads = ("case", "equal to the CPU", "µs", "host waits µs", "GB/s", "of a copy", "peers' time / ours", "target")
    rows = [_row(case) for case in record.cases]
    missing = set(TARGETS) - {case.name for case in record.cases}
    if not emulated:
        rows += [(name, NOT_MEASURED, "", "", "", "", "", TARGETS[name].words) for name in TARGETS if name in missing]
    return "\n".join([*lines, "", *_rows(heads, rows), ""])


def _row(case: Case) -> tuple[str, ...]:
    peers = [name for name in case.samples if name != case.ours]
    equal = str(case.facts.get("equal_to_cpu", "?"))
    if case.facts.get("emulated"):
        return (
            case.name,
            equal,
            EMULATED,
            "",
            "",
            "",
            ", ".join(name for name in case.samples if name != case.ours),
            "",
        )
    facts, ours = case.facts, case.statistics[case.ours]["p50"]
    share = facts["share_of_l2_copy" if facts["served_from"] == "L2 cache" else "share_of_copy"]
    ratios = (f"{name} {case.statistics[name]['p50'] / ours:.3g}" for name in peers)
    target = ""
    if case.name in TARGETS:
        words, met = TARGETS[case.name].reached(case)
        target = f"{TARGETS[case.name].words}: {words} {'met' if met else 'NOT MET'}"
    return (
        case.name,
        equal,
        f"{1e3 * ours:.3g}",
        f"{1e3 * facts['host_waits_ms'][case.ours]:.3g}",
        f"{facts['gb_per_s']:.3g}",
        f"{share:.0%}{' in L2' if facts['served_from'] == 'L2 cache' else ''}",
        ", ".join(ratios),
        target,
    )


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "/") for cell in row] for row in (heads, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]
