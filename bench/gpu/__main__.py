"""On a machine with an NVIDIA card: build, test, look for bad accesses and races, measure; print one table.

python -m bench.gpu OUT                        everything that less than ten minutes have room for
python -m bench.gpu OUT --budget 1500          everything
python -m bench.gpu OUT --steps build,tests    some of it; a later call on the same OUT goes on from there
python -m bench.gpu OUT --dry-run              the same path without a card: the kernels' own source on the host

OUT gets steps.json (what became of each step), ops_cuda.json (`mammofast bench ops --device cuda`), tests.xml, log.txt
(all that was said) and table.md; of the networks engines_cuda.json, pipeline_cuda.json, pipeline_trace.json and
agreement.json. A step that fails does not keep the others from running; the exit status is 1 then.
"""

import argparse
import sys
from pathlib import Path

from bench.gpu.steps import FAILED, Run
from bench.gpu.table import table
from bench.gpu.work import STEPS, Work


def main(arguments: list[str] | None = None) -> int:
    """Run the steps asked for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for the results, made when missing")
    parser.add_argument("--steps", default=",".join(STEPS), help=f"[default: {','.join(STEPS)}]")
    parser.add_argument("--skip", default="", help="steps to leave out, with commas between them")
    parser.add_argument("--ops", default="", help="only these ops' measurements, with commas between them")
    parser.add_argument("--budget", type=float, default=570, help="seconds in all [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=0.3, help="of measuring, each way of a case [default: 0.3]")
    parser.add_argument("--dry-run", action="store_true", help="no card: emulated kernels, small cases, no figures")
    options = parser.parse_args(arguments)
    chosen = _listed(parser, options.steps, STEPS)
    skipped = _listed(parser, options.skip, STEPS)

    run = Run(options.out, options.budget)
    work = Work(run, options.dry_run, options.seconds, [op for op in options.ops.split(",") if op])
    run.do([step for step in work.steps() if step.name in chosen and step.name not in skipped])
    text = table(run)
    (run.out / "table.md").write_text(text, encoding="utf-8")
    print("\n" + text, flush=True)
    return int(any(outcome.status == FAILED for outcome in run.outcomes))


def _listed(parser: argparse.ArgumentParser, words: str, known: tuple[str, ...]) -> list[str]:
    listed = [word for word in words.split(",") if word]
    if unknown := set(listed) - set(known):
        parser.error(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(known)}")
    return listed


if __name__ == "__main__":
    sys.exit(main())
