"""P1's table 4 on phantoms: threshold, level set and graph cut, told where the mass is and left alone.

    python -m bench.baselines [DATA] --studies 24 --json bench/results/baselines.json

DATA, where given, keeps the phantoms between runs. What is measured is what ``mammofast evaluate --baseline`` measures.
"""

import tempfile
from pathlib import Path

from bench.harness import parse_arguments, write
from mammofast.datasets import read_phantoms
from mammofast.evaluation.baselines import BASELINES
from mammofast.evaluation.baselines.run import INTERACTIVE, SHAPE, measure_baselines
from mammofast.phantom import write_studies

SEED = 777
PACKAGES = ("numpy", "scikit-image", "scipy")
NOTES = (
    f"Images that hold a mass, stretched to {SHAPE[0]} x {SHAPE[1]}, masks measured at native resolution.",
    "Level set and graph cut: told where each mass is by a disc in its middle, half as wide as a disc of its area; "
    "'unaided' they start at the threshold's result.",
    "Intervals: 95 %, bootstrap over studies.",
    "Phantoms; it says nothing about patients.",
)


def main() -> None:
    arguments = parse_arguments(
        __doc__,
        [("data", {"type": Path, "nargs": "?"}), ("--studies", {"type": int, "default": 24})],
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.data or Path(scratch)
        if not (folder / "truth" / "masses.json").exists():
            write_studies(folder, arguments.studies, SEED)
        samples = read_phantoms(folder).samples
        found = measure_baselines(tuple(BASELINES), samples) | measure_baselines(INTERACTIVE, samples, told=False)
    cases = []
    for name, measures in found.items():
        masks = measures["masks"]
        per_image = {key: masks["per_image"][key] for key in ("dice", "iou", "sensitivity")}
        print(name, {key: f"{cell['mean']:.3f}" for key, cell in per_image.items()}, flush=True)
        cases.append(
            {
                "case": name,
                "reason": "what a network has to beat",
                "seed": SEED,
                "n_images": masks["n_images"],
                "per_image": per_image,
                "pooled": masks["pooled"],
            }
        )
    write(arguments.json, cases, PACKAGES, NOTES)


if __name__ == "__main__":
    main()
