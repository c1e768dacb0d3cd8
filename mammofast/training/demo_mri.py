"""Make the bundle demo-mri: two trainings on phantoms, one manifest.

    python -m mammofast.training.demo_mri --out DIR --work DIR [--cases REGION DETECTOR]

The recipes are ``demo-mri-region`` and ``demo-mri-detector``; what was interrupted goes on when the same is called
again. Training phantoms and those that ``mammofast phantom`` writes come from random streams whose first word differs
(:class:`mammofast.phantom.plan.Purpose`).
"""

import argparse
import sys
from pathlib import Path

import torch

from mammofast.datasets import Split
from mammofast.phantom.dce_mri.plan import Mix
from mammofast.training.bundle import write_bundle
from mammofast.training.recipe_files import read_recipe
from mammofast.training.trainer import train
from mammofast.training.volumes import draw_volumes

# Breasts are much alike, and every case shows them in forty slices; masses are not.
CASES = (60, 240)
SEED = 1
# Every case has a mass, and two in five have another: there is more to learn from each.
MIX = Mix(with_mass=1.0, with_two=0.4)
# Role, by the recipe that trains it.
_ROLES = {"region": "demo-mri-region", "detector": "demo-mri-detector"}


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(
        prog="python -m mammofast.training.demo_mri", description="Make the bundle demo-mri."
    )
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder, new or empty")
    parser.add_argument("--work", type=Path, required=True, help="what is trained and prepared")
    parser.add_argument("--cases", type=int, nargs=2, default=CASES, metavar=("REGION", "DETECTOR"))
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    runs = {}
    for (role, name), cases in zip(_ROLES.items(), args.cases, strict=True):
        data = draw_volumes(cases, SEED, mix=MIX)
        split = Split(train=tuple(sample.name for sample in data), test=())
        trained = train(
            read_recipe(name), data, split, args.work / name, resume=True, cache=args.work / "examples", say=_say
        )
        runs[role] = trained.out
    write_bundle(runs, args.out, name="demo-mri")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
