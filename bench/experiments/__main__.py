"""The papers' comparisons on phantoms, all of them: trains, measures, compares and draws.

    python -m bench.experiments DATA --json bench/results/experiments.json --figures bench/experiments

DATA keeps trainings and measurements: what is there is not done again, and the command may be stopped at any moment.
--quick goes through all of it in a minute or two, to see that it runs; its numbers say nothing.
"""

import math
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bench import harness
from bench.experiments import conclusions, figures, groups, patients
from bench.experiments.runs import Measured, run
from bench.experiments.systems import ABLATION, LOSSES, ONE_STAGE, Comparison
from mammofast.datasets import Dataset
from mammofast.phantom.plan import STANDARD_MIX

SEEDS = 3
TRAINING_STUDIES, TEST_STUDIES, EXAMINATIONS = 60, 48, 48
PACKAGES = ("lightning-fabric", "monai", "numpy", "onnxruntime", "scipy", "torch")
PARTS = {"ablation": ABLATION, "losses": LOSSES}
QUICK = {"network.sizes": [[32, 32]], "training.epochs": 1}
NOTES = (
    "Phantoms, not patients; networks of a part of the papers' width, at a part of their resolution, for some hundred "
    "steps. That an order holds here does not show that it holds in the clinic, nor the other way round.",
    "Dice is of images with a mass, at the network's resolution (two stages: at native resolution); an image's value "
    "is the mean over seeds. Intervals: 95 %, bootstrap over patients (studies). p: Wilcoxon's signed-rank test on "
    "patients' means, two-sided, corrected by Holm's method for the comparisons of one table.",
    "'holds': the interval of the difference is above 0 and the corrected p below 0.05; 'the other way round': the "
    "same below 0; all else is 'too small to tell'. Tests and intervals are of patients; whether another training "
    "would say the same, the seeds' own differences tell.",
)


class Enough(Exception):
    """The time that was given is over."""


class Bench:
    """Where things are kept, and how much of them there is."""

    def __init__(self, folder: Path, quick: bool, seeds: int, seconds: float) -> None:
        self.folder, self.quick, self.seeds = folder / ("quick" if quick else "whole"), quick, seeds
        self.folder.mkdir(parents=True, exist_ok=True)
        self._end = time.monotonic() + seconds
        n_train, n_test, self.examinations = (3, 2, 2) if quick else (TRAINING_STUDIES, TEST_STUDIES, EXAMINATIONS)
        self.training, self.tested = patients.training_set(n_train), patients.measured_set(n_test)

    def look_at_the_clock(self) -> None:
        """Raise Enough where the time is over."""
        if time.monotonic() > self._end:
            raise Enough

    def trained(self, part: str, name: str, changes: Any, tested: Dataset) -> list[Measured]:
        """Return what a system scored with every seed."""
        return [self._trained(part, name, changes, tested, seed) for seed in range(self.seeds)]

    def _trained(self, part: str, name: str, changes: Any, tested: Dataset, seed: int) -> Measured:
        folder = self.folder / part / f"{name.replace(' ', '-')}-{seed}"
        if not (folder / "measured.json").exists():
            self.look_at_the_clock()
            print(f"{part}: {name}, seed {seed}", flush=True)
        changes = {**changes, **QUICK} if self.quick else changes
        return run(folder, changes, seed, self.training, tested, self.folder / "examples")

    def compared(self, part: str, comparison: Comparison) -> dict[str, Any]:
        """Train and measure all systems of a comparison, and say which of the paper's conclusions hold."""
        measured: dict[str, list[Measured]] = {name: [] for name in comparison.systems}
        for seed in range(self.seeds):  # seed by seed, so that what is there is fair at any moment
            for name, changes in comparison.systems.items():
                measured[name].append(self._trained(part, name, changes, self.tested, seed))
        return conclusions.of_comparison(comparison, measured)

    def part(self, name: str) -> dict[str, Any]:
        """Return one of the three parts."""
        return self.grouped() if name == "groups" else self.compared(name, PARTS[name])

    def grouped(self) -> dict[str, Any]:
        """Measure P4's groups on whole examinations."""
        if self.quick:
            everybody = patients.measured_set(self.examinations)
            examined = Dataset(everybody.name, everybody.samples[::4])  # an image of each patient
        else:
            examined = patients.measured_set(self.examinations, STANDARD_MIX)
        records = groups.measure_two_stages(examined, self.folder / "two-stages.jsonl", self.look_at_the_clock)
        stages = self.trained("groups", "one stage", ONE_STAGE, examined)
        return conclusions.of_groups(records, stages)


def main() -> int:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--figures", {"type": Path, "help": "a folder for the pictures"}),
            ("--quick", {"action": "store_true"}),
            ("--only", {"choices": figures.NAMES, "nargs": "+", "default": figures.NAMES}),
            ("--seeds", {"type": int, "default": SEEDS, "help": "0 with --only groups: what needs no training"}),
            (
                "--seconds",
                {"type": float, "default": math.inf, "help": "begin nothing after so long; run again to go on"},
            ),
        ],
    )
    torch.set_num_threads(1)
    bench = Bench(arguments.data, arguments.quick, arguments.seeds, arguments.seconds)
    try:
        cases = [bench.part(name) for name in arguments.only]
    except Enough:
        print("not all is there yet: the same command goes on", flush=True)
        return 75  # EX_TEMPFAIL
    for case in cases:
        print(conclusions.as_text(case), flush=True)
    if arguments.figures is not None:
        figures.draw(dict(zip(arguments.only, cases, strict=True)), arguments.figures)
    harness.write(arguments.json, cases, PACKAGES, NOTES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
