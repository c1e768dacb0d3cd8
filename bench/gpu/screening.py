"""P4's method over an archive: its rate on the card, and its findings beside the CPU's."""

import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gpu.steps import FAILED, PASSED, Python, Result, last_words
from mammofast.bundles import load_bundle

NEEDS = (
    *("torch", "onnx", "onnxruntime", "safetensors", "ml_dtypes", "imagecodecs", "pydicom"),
    *("tensorstore", "pyarrow", "dask", "distributed", "jinja2"),
)
RECORD, TRACE, AGREEMENT = "pipeline_cuda.json", "pipeline_trace.json", "agreement.json"
DISTINCT, MANY = "distinct.zarr", "many.zarr"
NETWORKS = {"detector": "compact-yolo", "segmenter": "compact-nested-unet"}  # the demo's, in the catalogue
STUDIES, COPIES = 10, 10  # all that there are of that size: 40 images; and 400 for the rate
_ROUNDS = 5
_DRY = ("--width", "0.0625", "--size", "detector=160x96", "--size", "detector=320x160", "--size", "segmenter=64x64")
_HIGH = 0.6  # where the search for a threshold begins: lower, random weights pass boxes by the thousand


class _Failed(Exception):
    """A command did; its words."""


@dataclass
class Screening:
    """One go at it, in a folder of its own."""

    python: Python
    out: Path
    folder: Path
    end: float
    dry: bool
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def _device(self) -> str:
        return "cpu" if self.dry else "cuda"

    def _do(self, *arguments: str | Path) -> str:
        code, said = self.python([str(each) for each in arguments], self.end - time.monotonic())
        if code:
            raise _Failed(last_words(said, code))
        return said

    def archives(self) -> None:
        """Make the phantoms."""
        self._do("-m", "bench.gpu.archives", self.folder, *(("--small",) if self.dry else ()))

    def rate(self) -> str:
        """Screen with YOLOv3 and v19U-Net++ of random weights; return the rate in words."""
        bundle = self.folder / "full"
        options = ("--random", "--parameter", f"confidence_threshold={_HIGH}", *(_DRY if self.dry else ()))
        self._compile(bundle, "fp32" if self.dry else "fp16", *options)
        self._do("-m", "bench.gpu.threshold", bundle, self.folder / DISTINCT)
        path = self.out / RECORD
        effort = ("--rounds", "1", "--seconds", "0.001", "--warm-up", "0") if self.dry else ("--rounds", str(_ROUNDS))
        where = ("--json", path, "--trace", self.out / TRACE)
        archive = self.folder / (DISTINCT if self.dry else MANY)
        what = ("bench", "pipeline", archive, "--bundle", bundle, "--workers", "1", "--quiet")
        self._do("-m", "mammofast", *what, *effort, *where)
        record = json.loads(path.read_text())
        (case,) = record["cases"]
        case["facts"]["emulated"] = self.dry
        path.write_text(json.dumps(record, indent=1) + "\n")
        return "screened, no figure" if self.dry else f"{case['facts']['images_per_s']:.3g} images/s"

    def agreement(self) -> str:
        """Screen with the demo's networks on the card, in half and in full precision, and on the CPU; compare."""
        self._do("-m", "bench.gpu.demo_weights", self.folder / "weights")
        demo = load_bundle("demo")
        options = [f"--parameter={key}={json.dumps(value)}" for key, value in demo.parameters.items()]
        for role, network in NETWORKS.items():
            options += [f"--network={role}={network}", f"--weights={role}={self.folder}/weights/{role}.safetensors"]
        self._screen("cpu", "demo", "cpu")
        found: dict[str, Any] = {}
        for precision in ("fp32",) if self.dry else ("fp32", "fp16"):
            self._compile(self.folder / precision, precision, *options)
            self._screen(precision, str(self.folder / precision), self._device)
            path = self.folder / f"{precision}.json"
            results = (self.folder / "results-cpu", self.folder / f"results-{precision}")
            threshold = str(demo.parameters["confidence_threshold"])
            self._do("-m", "bench.gpu.agreement", *results, "--threshold", threshold, "--json", path)
            found[precision] = json.loads(path.read_text()) | {"emulated": self.dry}
            (self.out / AGREEMENT).write_text(json.dumps(found, indent=1) + "\n")
        return ", ".join(f"{precision}: {_share(each['matched'])} matched" for precision, each in found.items())

    def _compile(self, bundle: Path, precision: str, *options: str) -> None:
        target = ("--to", "torch", "--device", self._device, "--precision", precision, "--out", str(bundle))
        self._do("-m", "mammofast", "compile", "two_stage", *target, *options)

    def _screen(self, name: str, bundle: str, device: str) -> None:
        where = (self.folder / DISTINCT, self.folder / f"results-{name}")
        workers = ("--workers", "1") if self.dry else ()
        self._do("-m", "mammofast", "screen", *where, "--bundle", bundle, "--device", device, *workers, "--quiet")


def measure(python: Python, out: Path, seconds: float, dry: bool) -> Result:
    """Make the archives, then measure the rate, then the agreement; what fails does not keep the next from running."""
    said = []
    with tempfile.TemporaryDirectory(prefix="mammofast-") as folder:
        work = Screening(python, out, Path(folder), time.monotonic() + seconds, dry)
        for name in (RECORD, TRACE, AGREEMENT):  # those of an earlier call would pass for this one's
            (out / name).unlink(missing_ok=True)
        for name, step in (("archives", work.archives), ("rate", work.rate), ("agreement", work.agreement)):
            try:
                said.append(step() or "")
            except _Failed as error:
                work.failed[name] = str(error)
                if name == "archives":
                    break
    words = "; ".join([*filter(None, said), *(f"{name} {why}" for name, why in work.failed.items())])
    return FAILED if work.failed else PASSED, words, {"failed": work.failed}


def _share(value: float | None) -> str:
    return "nothing found, nothing" if value is None else f"{value:.1%}"
