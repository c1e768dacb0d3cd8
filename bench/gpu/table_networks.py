"""The tables of whole networks and of the pipeline, beside what is asked of an H200."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.gpu.engines import RECORD as ENGINES
from bench.gpu.engines import TARGETS, Rates, backends, rates
from bench.gpu.screening import AGREEMENT
from bench.gpu.screening import RECORD as PIPELINE
from mammofast.errors import ProfilingError
from mammofast.profiling.record import read_record

Rows = Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]
DRY = "ON THE CPU, SMALL: that it runs, no figure says anything of a card."
IMAGES_PER_S, BUSY, MATCHED, DICE = 200.0, 0.9, 0.995, 0.99
_WORDS = {"times_paper": "× the paper", "times_eager_alone": "× eager, batch 1", "times_eager_best": "× eager's best"}


def engines(out: Path, rows: Rows) -> list[str]:
    """Return table 6's lines, none where nothing of it was measured."""
    try:
        record = read_record(out / ENGINES)
    except ProfilingError:
        return []
    found = rates(record.cases)
    if record.cases[0].facts.get("emulated"):
        return ["", DRY, "", *rows(("network", "backend", ""), [(*key, "ran") for key in found])]
    heads = ("network, 256 × 256", "backend", "images/s, batch 1", "images/s, best batch",
             *(f"{_WORDS[name]} (≥ {least:g})" for name, least in TARGETS.items()))  # fmt: skip
    lines = [(*key, f"{each.ours.get(1, 0):.4g}", _best(each), *_verdicts(each)) for key, each in found.items()]
    missing = [name for name in ("tensorrt", "tensorrt-rtx") if name not in backends()]
    return ["", *rows(heads, lines), *([f"\nNot importable here: {', '.join(missing)}."] if missing else [])]


def _best(each: Rates) -> str:
    batch = max(each.ours, key=each.ours.__getitem__)
    return f"{each.ours[batch]:.4g} ({batch})"


def _verdicts(each: Rates) -> list[str]:
    return [_against(getattr(each, name), least, "{:.3g}") for name, least in TARGETS.items()]


def _against(value: float | None, least: float, form: str) -> str:
    if value is None:
        return "not measured"
    return f"{form.format(value)} {'met' if value >= least else 'NOT MET'}"


def pipeline(out: Path, rows: Rows) -> list[str]:
    """Return the pipeline's lines: its rate, and what it finds beside the CPU; none where neither was measured."""
    lines, dry = [], False
    if (out / PIPELINE).exists():
        facts = read_record(out / PIPELINE).cases[0].facts
        dry = bool(facts["emulated"])
        lines += [("rate", "", "ran")] if dry else _rate(facts)
    if (out / AGREEMENT).exists():
        for precision, found in json.loads((out / AGREEMENT).read_text()).items():
            dry = dry or found["emulated"]
            lines += _agreement(precision, found)
    return ["", *([DRY, ""] if dry else []), *rows(("P4's method", "asked", "found"), lines)] if lines else []


def _rate(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    busy = (facts["gpu"] or {}).get("share_busy")
    return [
        ("images/s, YOLOv3 and v19U-Net++, fp16, random weights", f"≥ {IMAGES_PER_S:.0f}",
         _against(facts["images_per_s"], IMAGES_PER_S, "{:.4g}")),
        ("the card busy, as nvidia-smi sees it", f"≥ {BUSY:.0%}", _against(busy, BUSY, "{:.0%}")),
        ("what limits it", "", str(facts["verdict"])),
    ]  # fmt: skip


def _agreement(precision: str, found: dict[str, Any]) -> list[tuple[str, str, str]]:
    counts = f"{found['findings_device']} findings, the CPU's {found['findings_cpu']}, {found['images']} images"
    whole = found["images"] > 0 and not found["images_of_one_side_only"]
    lines = [
        (f"the demo's networks, {precision}", "", counts if whole else f"{counts}; NOT THE SAME IMAGES SCREENED"),
        (f"matched at IoU 0.95, {precision}", f"≥ {MATCHED:.1%}", _against(found["matched"], MATCHED, "{:.2%}")),
        (f"mean Dice of the matched, {precision}", f"≥ {DICE:g}", _against(found["dice_mean"], DICE, "{:.4f}")),
    ]
    if precision == "fp32":
        share = found["images_with_equal_boxes"] / found["images"] if found["images"] else None
        lines.append(("images with the CPU's boxes, fp32", "all", _against(share, 1.0, "{:.1%}")))
    lines += [
        (f"unmatched, {precision}: {each['only']} {each['box']}", "", f"{_above(each)}, nearest IoU "
         f"{each['nearest_iou']:.3f}") for each in found["unmatched"]
    ]  # fmt: skip
    return lines


def _above(unmatched: dict[str, Any]) -> str:
    above = unmatched["above_threshold"]
    return "no detection of it" if above is None else f"{above:+.4f} above the threshold"
