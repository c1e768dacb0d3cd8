"""P2's table 6 on the card: each network in half precision, beside PyTorch eager in the same process."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from bench.gpu.steps import FAILED, PASSED, Python, Result, last_words
from mammofast.engine.tensorrt import FLAVOURS
from mammofast.profiling.engines import CASES
from mammofast.profiling.record import Case, Record, read_record

NEEDS = ("torch", "onnx", "safetensors", "pydicom", "imagecodecs", "ml_dtypes")
RECORD = "engines_cuda.json"
PAPER = CASES["table-6"]
BATCHES = (1, 8, 32, 128)
_ROWS, _COLS = PAPER.size
_SIZE = ("--size", f"{_ROWS}x{_COLS}")
_DRY = ("--size", "64x64", "--width", "0.05", "--seconds", "0.001", "--warm-up", "0", "--batch", "1", "--batch", "2")


@dataclass(frozen=True)
class Rates:
    """Images per second of one network on one backend, by batch: ours, and PyTorch eager's beside it."""

    ours: dict[int, float]
    eager: dict[int, float]
    paper: float

    @property
    def times_paper(self) -> float:
        """At the best batch: the one that the engine would choose."""
        return max(self.ours.values()) / self.paper

    @property
    def times_eager_alone(self) -> float | None:
        """At batch 1."""
        return self.ours[1] / self.eager[1] if 1 in self.ours and 1 in self.eager else None

    @property
    def times_eager_best(self) -> float | None:
        """Where eager is fastest, at that batch."""
        if not self.eager:
            return None
        best = max(self.eager, key=self.eager.__getitem__)
        return self.ours[best] / self.eager[best]


TARGETS = {"times_paper": 30.0, "times_eager_alone": 2.0, "times_eager_best": 1.2}


def backends() -> list[str]:
    """Return what can run them here: PyTorch, and the TensorRT flavours whose modules are here."""
    return ["torch", *(name for name in FLAVOURS if find_spec(name.replace("-", "_")) is not None)]


def command(network: str, backend: str, path: Path, seconds: float, dry: bool) -> list[str]:
    """Return how one network is measured on one backend, at every batch."""
    start = ["-m", "mammofast", "bench", "engines", network, "--eager", "--json", str(path)]
    if dry:
        return [*start, "--run", "torch:fp32", *_DRY]
    batches = [word for batch in BATCHES for word in ("--batch", str(batch))]
    return [*start, "--run", f"{backend}:fp16", *_SIZE, *batches, "--seconds", str(seconds), "--warm-up", "0.2"]


def measure(python: Python, out: Path, seconds: float, each: float, dry: bool) -> Result:
    """Measure every network on every backend, each in a process of its own; keep what there is after each.

    python: runs Python with arguments for so many seconds, returns its exit status and words.
    """
    networks = list(PAPER.fps)[:1] if dry else list(PAPER.fps)
    wanted = [(network, backend) for backend in (["torch"] if dry else backends()) for network in networks]
    failed, written = {}, list[Record]()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="mammofast-") as scratch:
        for number, (network, backend) in enumerate(wanted):
            path = Path(scratch) / f"{number}.json"
            left = end - time.monotonic()
            code, said = python(
                command(network, backend, path, each, dry), min(left, 2 * left / (len(wanted) - number))
            )
            if code or not path.exists():
                failed[f"{network} on {backend}"] = last_words(said, code)
                continue
            written.append(_with_paper(read_record(path), network, dry))
            _merged(written, dry).write(out / RECORD)
    cases = sum(len(record.cases) for record in written)
    words = "; ".join([f"{cases} cases measured", *(f"{what} {why}" for what, why in failed.items())])
    return FAILED if failed or not cases else PASSED, words, {"failed": failed}


def rates(cases: Sequence[Case]) -> dict[tuple[str, str], Rates]:
    """Return what was measured, by network and backend."""
    found: dict[tuple[str, str], Rates] = {}
    for case in cases:
        facts = case.facts
        key = (str(facts["network"]), str(facts["backend"]))
        each = found.setdefault(key, Rates({}, {}, float(facts["paper_images_per_s"])))
        each.ours[facts["batch"]] = case.throughput
        for name, values in case.statistics.items():
            if name != case.ours:
                each.eager[facts["batch"]] = 1e3 * case.items / values["p50"]
    return found


def _with_paper(record: Record, network: str, dry: bool) -> Record:
    more = {"network": network, "paper_images_per_s": PAPER.fps[network], "emulated": dry}
    return replace(record, cases=tuple(replace(case, facts={**case.facts, **more}) for case in record.cases))


def _merged(records: Sequence[Record], dry: bool) -> Record:
    first = records[0]
    cases = tuple(case for record in records for case in record.cases)
    return replace(first, cases=cases, command="python -m bench.gpu --steps engines" + (" --dry-run" if dry else ""))
