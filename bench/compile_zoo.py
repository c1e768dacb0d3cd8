"""Compile every network at full width: what compiles, how large engines are, how long it takes, how far from PyTorch.

    python -m bench.compile_zoo [NAME...] [--json bench/results/compile.json] [--width W]

For each network, with random weights: exported once in fp32 and held against PyTorch in ONNX Runtime; converted to fp16
and held against PyTorch again; both built by TensorRT for RTX for cards from Ampere on, batches of 1 to 8. Errors are
of probabilities, or for raw outputs parts of their largest value. Each network has a process of its own, so that peak
memory is its own too. Networks that the file holds are kept: give their names to measure them again.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any

from bench.harness import write
from mammofast.models import find, names

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "compile.json"
MAX_BATCH = 8
PACKAGES = ("torch", "onnx", "onnxruntime", "tensorrt_rtx_cu13_bindings")
NOTES = (
    "random weights; one thread; each network in a process of its own",
    "error: largest absolute error of a probability, or of raw outputs as a part of their largest value",
)
# P3's tiles of 600 pixels and more would take minutes of PyTorch each, and compile to the same engine but for a number.
LARGEST_SIDE = 600
INSTEAD = (320, 320)


def sizes(name: str) -> list[tuple[int, int]]:
    """Return what a network is compiled for: the catalogue's size, P4's five for a detector."""
    from mammofast.compilation.defaults import METHODS

    entry = find(name)
    if entry.output == "yolo":
        return list(METHODS["two_stage"].roles["detector"].sizes)
    rows, cols = entry.input[1:]
    if max(rows, cols) <= LARGEST_SIDE:
        return [(rows, cols)]
    return [INSTEAD]


def measure(name: str, width: float, out: Any) -> None:
    """Put a network's record on a queue; an error is a record too."""
    try:
        out.put(_measure(name, width))
    except Exception as error:  # what does not compile is a result
        out.put({"name": name, "error": f"{type(error).__name__}: {error}"})


def _measure(name: str, width: float) -> dict[str, Any]:
    import torch

    from mammofast.compilation.networks import Weights
    from mammofast.compilation.rcnn import from_rcnn
    from mammofast.compilation.sources import from_catalogue

    torch.set_num_threads(1)
    options = {} if width == 1 else {"width": width}
    start = time.perf_counter()
    if find(name).output == "rcnn":
        sources = from_rcnn(name, Weights(random=0), options=options, sizes=sizes(name))
    else:
        sources = {"": from_catalogue(name, Weights(random=0), options=options, sizes=sizes(name))}
    exported = time.perf_counter() - start
    record: dict[str, Any] = {"name": name, "width": width, "sizes": sizes(name), "export_s": exported, "engines": {}}
    for part, source in sources.items():
        record["engines"][part] = _engine(source)
    record["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return record


def _engine(source: Any) -> dict[str, Any]:
    from mammofast.compilation import parity
    from mammofast.compilation.compiler import profiles
    from mammofast.compilation.precision import convert
    from mammofast.engine import load_engine
    from mammofast.engine.tensorrt import build

    start = time.perf_counter()
    cases = parity.make_cases(source)
    record: dict[str, Any] = {"reference_s": time.perf_counter() - start}
    for precision in ("fp32", "fp16"):
        start = time.perf_counter()
        model = convert(source.model, precision)
        converted = time.perf_counter()
        with load_engine(model, "onnxruntime", precision=precision) as engine:
            found = parity.measure(engine, source, cases, parity.budgets(source, cases, precision, None))
        compared = time.perf_counter()
        built = build(model, "tensorrt-rtx", profiles(source, MAX_BATCH))
        record[precision] = {
            "onnx_bytes": len(model),
            "engine_bytes": len(built.engine),
            "convert_s": converted - start,
            "compare_s": compared - converted,
            "build_s": time.perf_counter() - compared,
            "error": max(m.max_abs if source.probabilities else m.max_abs / m.largest for m in found.values()),
            "within_budget": all(m.max_abs <= m.budget for m in found.values()),
            "versions": dict(built.versions),
        }
    return record


def table(records: list[dict[str, Any]]) -> str:
    """Return the README's table: a line for each network."""
    lines = [
        "| network | size | fp32: engine, build, error | fp16: engine, build, error |",
        "|---|---|---|---|",
    ]
    for record in records:
        if "error" in record:
            lines.append(f"| {record['name']} | | {record['error']} | |")
            continue
        for part, engine in record["engines"].items():
            size = (
                f"{len(record['sizes'])} sizes" if len(record["sizes"]) > 1 else "×".join(map(str, record["sizes"][0]))
            )
            cells = [_cell(engine[precision]) for precision in ("fp32", "fp16")]
            lines.append(f"| {record['name']}{part and f', {part}'} | {size} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _cell(engine: dict[str, Any]) -> str:
    words = f"{engine['engine_bytes'] / 1e6:.0f} MB, {engine['build_s']:.1f} s, {engine['error']:.0e}"
    return words if engine["within_budget"] else f"{words} (past its budget)"


def main() -> None:
    """Measure, write after every network, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks; all that the file does not hold yet by default")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--width", type=float, default=1.0, help="of the networks, to try this script")
    args = parser.parse_args()
    records: dict[str, Any] = {}
    if args.json.exists():
        records = {record["name"]: record for record in json.loads(args.json.read_text())["cases"]}
    wanted = args.names or [name for name in names() if "engines" not in records.get(name, {})]
    context = multiprocessing.get_context("spawn")
    for name in wanted:
        queue = context.Queue()
        process = context.Process(target=measure, args=(name, args.width, queue))
        process.start()
        while process.is_alive() and queue.empty():
            process.join(0.2)
        gone = {"name": name, "error": "the process died: out of memory?"}
        records[name] = gone if queue.empty() and not process.is_alive() else queue.get()
        process.join()
        print(table([records[name]]).splitlines()[-1], file=sys.stderr, flush=True)
        ordered = [records[known] for known in names() if known in records]
        write(args.json, ordered, PACKAGES, NOTES)
    print(table([records[known] for known in names() if known in records]))


if __name__ == "__main__":
    main()
