"""A national archive in one night: a million images really scheduled, ten million by extension.

    python -m bench.scale OUT --json bench/results/scale.json      # 27 minutes; OUT on a tmpfs counts no disk (6 GB)
    python -m bench.scale OUT --images 20000 --cards 8             # a look

Runs ``screen`` itself, over an archive that makes its records up, with a Dask scheduler and a process for each card,
which take the time that a card would and die as stated (``bench/scale/model.py``, ``cards.py``). OUT: a folder for the
results, emptied after each run.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench import harness
from bench.scale.measure import Measured, simulate
from bench.scale.model import Model

WHOLE = 10_000_000
PACKAGES = ("dask", "distributed", "numpy")
NOTES = (
    "CPU seconds as Linux counts them: of the scheduler's process, and of the client's by thread. Scheduling is all of "
    "both but the threads that put results on record and what it takes to make up the records of the archive.",
    "Reading an image's record from a real archive, and looking up whether it is on record: bench.scale.listing.",
    "Lost to failures: the cards' time, of what the run took, in which they did no image for the first time.",
    "Memory is resident; its growth is a line through the second half of the run.",
)


def case(measured: Measured, size: int) -> dict[str, Any]:
    """Return a run's record, and what it means for the whole archive."""
    model, images = measured.model, measured.images
    cost = measured.scheduling_us
    rate = images / measured.seconds
    steady = model.cards / measured.card_seconds_per_image
    return {
        "case": f"{images:,} images, {model.cards} cards, {size} images a task, "
        + ("with failures" if model.crash_every else "without failures"),
        "reason": "what scheduling a national archive costs, and what failures cost it",
        "model": asdict(model),
        "report": measured.report,
        "seconds": measured.seconds,
        "images_per_s": rate,
        "scheduling_us_per_image": cost,
        "us_per_image": measured.us,
        "scheduler_idle_us_per_image": 1e6 * measured.idle * measured.seconds / images,
        "cards_used": measured.used,
        "tail_s": measured.tail,
        "deaths_of_workers": measured.deaths,
        "memory_mib": measured.memory,
        f"for_{WHOLE}_images": {
            "hours": WHOLE / steady / measured.used / 3600,
            "scheduling_cores": cost * 1e-6 * steady,
            "client_mib_at_the_end": measured.memory_after("client", WHOLE),
            "scheduler_mib_at_the_end": measured.memory_after("scheduler", WHOLE),
        },
    }


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("out", {"type": Path}),
            ("--images", {"type": int, "default": 1_000_000}),
            ("--images-per-task", {"type": int, "default": 128}),
            ("--cards", {"type": int, "default": 64}),
            ("--faster", {"type": float, "default": 1.0, "help": "divide all of the model's times by this"}),
            ("--only", {"choices": ["with", "without"], "help": "one run, with or without failures"}),
        ],
    )
    by = arguments.faster
    base = Model()
    model = replace(
        base,
        cards=arguments.cards,
        image_ms=base.image_ms / by,
        slow_s=base.slow_s / by,
        restart_s=base.restart_s / by,
        machine_s=base.machine_s / by,
    )
    safe = replace(model, unreadable_every=0, poison_every=0, crash_every=0, machine_every=0)
    cases = []
    for name, each in (("without", safe), ("with", model)):
        if arguments.only in (None, name):
            measured = simulate(each, arguments.images, arguments.out, arguments.images_per_task)
            cases.append(case(measured, arguments.images_per_task))
            _say(cases[-1])
            harness.write(arguments.json, cases, PACKAGES, NOTES)


def _say(found: dict[str, Any]) -> None:
    print(found["case"])
    for name, value in found.items():
        if name not in ("case", "reason", "model"):
            print(f"    {name}: {harness.rounded({'': value})['']}", flush=True)


if __name__ == "__main__":
    main()
