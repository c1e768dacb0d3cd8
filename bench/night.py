"""Screening while processes are killed, and while an image kills its workers.

    python -m bench.night kills --runs 200 --seed 1 --json bench/results/night_kills.json
    python -m bench.night poison --images 1000 --json bench/results/night_poison.json

kills: each run screens a small archive into new results, on a cluster of a scheduler and two nannies with a worker
each, or (every fifth) on workers of its own; at a random instant SIGKILL goes to the client, the scheduler, a worker or
a nanny. Then the cluster is mended and the run started again until it ends. Demanded: every image is on record once, as
done, in the bytes of a run that nothing happened to; nothing else is in the results; what was on record when the
signal went out is not begun again, so that at most the images in flight are done twice.

poison: the same images with and without one that kills whatever process works on it. Demanded: all others are done, as
without it, and the run takes at most 1.2 times as long.

Images are small and the bundle is that of the tests, whose networks find what is bright. Exit status 1 where something
was not as demanded.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import psutil

from bench.fuzz import load
from bench.harness import ROOT, parse_arguments, write
from mammofast import open_results
from mammofast.errors import SchedulerError
from mammofast.screening import screen

TESTS = ROOT / "tests" / "screening"
IMAGES = 24
A_TASK = 2
WORKERS = 2
VICTIMS = ("client", "scheduler", "worker", "nanny")
PACKAGES = ("dask", "distributed", "numpy", "onnxruntime", "tensorstore")
DEADLINE_SECONDS = 240
# A scheduler that is gone stays gone here, until it is mended.
CONNECT = {"distributed.comm.timeouts.connect": "3s"}
Bytes = dict[str, bytes]


class Cluster:
    """A scheduler and nannies, each a process of its own; mended after each death."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._nannies: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def mend(self) -> None:
        """Start what is not there, so that all workers are at work."""
        if self._scheduler is None or self._scheduler.poll() is not None:
            self.close()
            where = self._folder / "scheduler.json"
            where.unlink(missing_ok=True)
            self._scheduler = _dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(where))
            _wait(lambda: where.exists() and where.read_text().strip().endswith("}"))
            self.address = json.loads(where.read_text())["address"]
        self._nannies = [nanny for nanny in self._nannies if nanny.poll() is None]
        while len(self._nannies) < WORKERS:
            options = ("--nthreads", "1", "--local-directory", str(self._folder), "--memory-limit", "0")
            self._nannies.append(_dask("worker", self.address, *options))

    def victim(self, kind: str, rng: random.Random) -> int | None:
        """Return the id of a process of a kind; None where there is none just now."""
        if kind == "scheduler":
            return None if self._scheduler is None else self._scheduler.pid
        nannies = [nanny.pid for nanny in self._nannies]
        if kind == "nanny":
            return rng.choice(nannies)
        workers = [worker for nanny in nannies for worker in _workers_below(nanny)]
        return rng.choice(workers) if workers else None

    def close(self) -> None:
        """End them all."""
        for process in [*self._nannies, *([] if self._scheduler is None else [self._scheduler])]:
            _end(process.pid)
            process.wait()
        self._nannies = []


def _dask(what: str, *options: str) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", f"distributed.cli.dask_{what}", *options, "--no-dashboard"],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _workers_below(pid: int) -> list[int]:
    """Return the processes below one that are workers: spawned by it, and not what watches over its semaphores."""
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(pid).children()
        return sorted(child.pid for child in children if "spawn_main" in " ".join(child.cmdline()))
    return []


def _end(pid: int) -> None:
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()


def _wait(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.002)


def _opener() -> Any:
    """Return what opens screeners that write down what they begin, in a module that workers find by its name."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    return importlib.import_module("fake_screeners").misbehaving


def _client(options: dict[str, Any]) -> None:
    """Run ``screen`` as a program would; what runs here is killed."""
    os.setsid()
    try:
        with dask.config.set(CONNECT):
            report = screen(**options, images_per_task=A_TASK, opener=_opener())
    except SchedulerError as error:
        print(f"SchedulerError: {error}", flush=True)
        os._exit(1)
    os._exit(0 if report.done == IMAGES else 2)


def _start(options: dict[str, Any]) -> multiprocessing.process.BaseProcess:
    # Forked of a process that has never run a cluster: nothing is imported again for each of several hundred.
    process = multiprocessing.get_context("fork").Process(target=_client, args=(options,))
    process.start()
    return process


def one_run(
    number: int, seed: int, archive: Path, bundle: Path, cluster: Cluster, usual: dict[bool, float], expected: Bytes
) -> dict[str, Any]:
    """Screen once, with one kill; return what happened, and what was not as demanded."""
    rng = random.Random(f"{seed}-{number}")
    ours = number % 5 == 4
    kind = rng.choice(("client", "worker") if ours else VICTIMS)
    at = rng.uniform(0, 0.9 * usual[ours])
    with tempfile.TemporaryDirectory(prefix="mammofast-night-") as name:
        folder = Path(name)
        results, begun = folder / "results", bundle / "started"
        for path in begun.glob("*"):
            path.unlink()
        cluster.mend()
        where: dict[str, Any] = {"workers": WORKERS} if ours else {"scheduler": cluster.address}
        options = {"archive": archive, "results": results, "bundle": bundle, **where}
        process = _start(options)
        time.sleep(at)
        pid = process.pid if kind == "client" else cluster.victim(kind, rng)
        if ours and kind == "worker":
            workers = _workers_below(process.pid or 0)
            pid = rng.choice(workers) if workers else None
        alive = process.is_alive()
        recorded, before = set(_uids(results)), _begun(begun)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.join(DEADLINE_SECONDS)
        codes = [process.exitcode]
        while codes[-1] != 0 and len(codes) < 4:
            if codes[-1] is None:
                _end(process.pid or 0)
            cluster.mend()
            process = _start(options | {"scheduler": cluster.address} if not ours else options)
            process.join(DEADLINE_SECONDS)
            codes.append(process.exitcode)
        after = _begun(begun)
        again = sum(1 for count in after.values() if count > 1)
        wrong = []
        if None in codes:
            wrong.append("no end")
        if codes[-1] != 0:
            wrong.append(f"exit statuses {codes}")
        if _contents(results) != expected:
            wrong.append("other results than of a run that nothing happened to")
        elif (found := open_results(results).images()["status"].to_pylist()) != ["done"] * IMAGES:
            wrong.append(f"rows: {Counter(found)}")
        if any(after[uid] > before[uid] for uid in recorded):
            wrong.append("an image that was on record was begun again")
    return {
        "run": number,
        "own_workers": ours,
        "killed": kind,
        "at_s": at,
        "while_running": alive,
        "on_record_at_kill": len(recorded),
        "begun_and_not_on_record_at_kill": len(before.keys() - recorded),
        "exit_statuses": codes,
        "images_begun_again": again,
        "wrong": wrong,
    }


def _begun(folder: Path) -> Counter[str]:
    """Return how often each image was begun."""
    return Counter({path.name: len(path.read_text().split()) for path in folder.glob("*")})


def _uids(results: Path) -> list[str]:
    return [path.name.partition("-")[0] for path in results.glob("images/*/[!.]*.json")]


def _contents(results: Path) -> Bytes:
    return {path.name: path.read_bytes() for path in results.glob("images/*/[!.]*")}


@contextlib.contextmanager
def prepared(images: int) -> Iterator[tuple[Path, Path, Path]]:
    """Make an archive of small images and a bundle for it; yield both and the folder they are in."""
    with tempfile.TemporaryDirectory(prefix="mammofast-night-") as name:
        folder = Path(name)
        tests = load(TESTS / "conftest.py")
        yield tests.make_archive(folder, images), tests.write_bundle(folder / "bundle"), folder


def kills(runs: int, first: int, seed: int) -> list[dict[str, Any]]:
    """Run the campaign."""
    with prepared(IMAGES) as (archive, bundle, folder):
        cluster = Cluster(folder)
        try:
            usual: dict[bool, float] = {}
            expected: Bytes = {}
            for number, ours in enumerate((False, True, False, True)):
                cluster.mend()
                time.sleep(5 if number == 0 else 0)  # for the workers to be there
                results = folder / f"undisturbed-{number}"
                where: dict[str, Any] = {"workers": WORKERS} if ours else {"scheduler": cluster.address}
                start = time.monotonic()
                process = _start({"archive": archive, "results": results, "bundle": bundle, **where})
                process.join(DEADLINE_SECONDS)
                usual[ours] = min(usual.get(ours, DEADLINE_SECONDS), time.monotonic() - start)
                if expected and expected != _contents(results):
                    raise RuntimeError("two runs that nothing happened to differ")
                expected = _contents(results)
            if len(expected) != IMAGES:
                raise RuntimeError(f"{len(expected)} of {IMAGES} images on record")
            done = []
            for number in range(first, first + runs):
                done.append(one_run(number, seed, archive, bundle, cluster, usual, expected))
                if done[-1]["wrong"] or number % 10 == 9:
                    print(json.dumps(done[-1]), flush=True)
        finally:
            cluster.close()
    return done


def poison(images: int, rounds: int) -> dict[str, Any]:
    """Screen with and without one poisoned image, in turns."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    wrong, deaths = [], []
    with prepared(images) as (archive, bundle, folder):
        uid = f"1.2.{images // 4 + 1}.{images // 2 // 2 * 2}.1"
        expected: Bytes = {}
        for number in range(rounds):
            for poisoned in (False, True):
                (bundle / "poison").write_text(uid if poisoned else "")
                (bundle / "started" / uid).unlink(missing_ok=True)
                results = folder / f"{number}-{poisoned}"
                report = screen(archive, results, bundle, workers=WORKERS, opener=_opener())
                seconds[poisoned].append(report.seconds)
                print(f"{'poisoned' if poisoned else 'sound'}: {report}, {report.seconds:.1f} s", flush=True)
                found = _contents(results)
                if not poisoned:
                    expected = expected or found
                    wrong += [] if found == expected and len(found) == images else ["sound runs differ"]
                    continue
                deaths.append(len((bundle / "started" / uid).read_text().split()))
                other = [file for file in expected if found.get(file) != expected[file]]
                if (report.done, report.failed) != (images - 1, 1) or not all(f.startswith(f"{uid}-") for f in other):
                    wrong.append(f"{report}; other than expected: {len(other)}")
    ratio = statistics.median(seconds[True]) / statistics.median(seconds[False])
    if ratio > 1.2:
        wrong.append(f"{ratio:.2f} times as long")
    return {
        "case": "poison",
        "reason": "one image in very many kills its process each time: all others are done, and it costs little",
        "images": images,
        "workers": WORKERS,
        "seconds_sound": seconds[False],
        "seconds_poisoned": seconds[True],
        "ratio": ratio,
        "processes_killed": deaths,
        "not_as_demanded": wrong,
    }


def summed(done: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Return the campaign's record."""
    effective = [run for run in done if run["while_running"]]
    return {
        "case": "kills",
        "reason": "SIGKILL at random instants: no image lost, none twice, the same bytes, little done again",
        "runs": len(done),
        "seed": seed,
        "images": IMAGES,
        "killed": dict(Counter(run["killed"] for run in done)),
        "killed_while_running": dict(Counter(run["killed"] for run in effective)),
        "ended_by_itself": sum(run["exit_statuses"] == [0] for run in effective),
        "most_in_flight_at_kill": max((run["begun_and_not_on_record_at_kill"] for run in done), default=0),
        "most_images_begun_again": max((run["images_begun_again"] for run in done), default=0),
        "images_begun_again": sum(run["images_begun_again"] for run in done),
        "not_as_demanded": [run for run in done if run["wrong"]],
        "runs_detail": done,
    }


def main() -> int:
    """Run the command line."""
    arguments: argparse.Namespace = parse_arguments(
        __doc__,
        [
            ("campaign", {"choices": ("kills", "poison")}),
            ("--runs", {"type": int, "default": 200}),
            ("--first", {"type": int, "default": 0, "help": "number of the first run, to do them in parts"}),
            ("--seed", {"type": int, "default": 1}),
            ("--images", {"type": int, "default": 1000}),
            ("--rounds", {"type": int, "default": 3}),
        ],
    )
    if arguments.campaign == "kills":
        case = summed(kills(arguments.runs, arguments.first, arguments.seed), arguments.seed)
    else:
        case = poison(arguments.images, arguments.rounds)
    print(json.dumps({name: value for name, value in case.items() if name != "runs_detail"}, indent=1))
    notes = [
        "images of 700 x 500 pixels and more, the tests' networks; on a busy machine, where instants are what counts",
        "kills: images begun again are counted over the run that was disturbed and those that completed it",
    ]
    write(arguments.json, [case], PACKAGES, notes)
    return 1 if case["not_as_demanded"] else 0


if __name__ == "__main__":
    sys.exit(main())
