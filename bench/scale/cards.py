"""The machines: a Dask scheduler and a process for each card, which really die, and screeners that only wait.

    python -m bench.scale.cards FOLDER MODEL_AS_JSON

prints the scheduler's address and process id, and ends when its standard input does. All processes are forked from one
that has imported everything: 64 of them share their memory and are there at once.
"""

import asyncio
import gc
import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import dask
import numpy as np
from distributed import Scheduler, Worker

from bench.scale.model import CRASH, MACHINE, POISON, UNREADABLE, Model
from mammofast.bundles import device_of, load_bundle
from mammofast.errors import Reason
from mammofast.records import Finding, ImageResult, ImageSource
from mammofast.screening.cluster import _CONFIG
from mammofast.settings import Settings

# In the workers' environment: what they simulate, where they mark what came once, and which machine they belong to.
MODEL, FOLDER, PIPE, CARD = (f"MAMMOFAST_SCALE_{name}" for name in ("MODEL", "FOLDER", "PIPE", "CARD"))
_LOOK_SECONDS = 0.05
# Ends the mark of what came to an image in a process of its own: whatever ends that convicts it, as poison does.
ALONE = ", alone"


class SimulatedScreener:
    """Waits as long as a card would work; images meet their fates."""

    concurrent = True

    def __init__(self, bundle: str, device: str, settings: Settings) -> None:
        manifest = load_bundle(bundle)
        self.bundle_id, self.settings_id = manifest.id, Settings.on(device_of(manifest)).id

    @cached_property
    def _model(self) -> Model:
        return Model(**json.loads(os.environ[MODEL]))

    def screen_images(self, images: Sequence[ImageSource]) -> list[ImageResult]:
        """Take the time of all of them, or as much of it as goes by until one of them kills the process."""
        seconds = 0.0
        for image in images:
            content = image.record.content_sha256
            fate = self._model.fate(content)
            seconds += self._model.seconds(content) * self._model.threads
            if fate == POISON or (fate in (CRASH, MACHINE) and _first_time(content, fate)):
                time.sleep(seconds)
                _die(fate)
        time.sleep(seconds)
        return [self._result(image) for image in images]

    def _result(self, image: ImageSource) -> ImageResult:
        content = image.record.content_sha256
        if self._model.fate(content) == UNREADABLE:
            return ImageResult(image.shape, error=f"{Reason.READ}: array 0 cannot be read (ValueError)")
        # One image in two has a finding.
        findings = (Finding((100, 200, 164, 264), 0.9, 0.8, _MASK),) if int(content[-1], 16) % 2 else ()
        return ImageResult(image.shape, findings, detections=_DETECTIONS)

    def __enter__(self) -> "SimulatedScreener":
        return self

    def __exit__(self, *error: Any) -> None: ...


_Y, _X = np.ogrid[:64, :64]
_MASK = (_X - 31.5) ** 2 + (_Y - 31.5) ** 2 < 30**2
_DETECTIONS = np.array([[100, 200, 164, 264, 0.8, 0]] * 3, np.float32)


def open_simulated(bundle: str, device: str, settings: Settings) -> SimulatedScreener:
    """Open what only waits; any bundle will do."""
    return SimulatedScreener(bundle, device, settings)


def _first_time(content: str, fate: str) -> bool:
    """Say whether an image's fate comes now; the next time it is spared."""
    try:
        with Path(os.environ[FOLDER], content).open("x") as mark:
            mark.write(f"{fate}{ALONE if _is_alone() else ''}")
    except FileExistsError:
        return False
    return True


def _is_alone() -> bool:
    """Say whether this process was started for an image that is suspected."""
    main = sys.modules["__main__"].__spec__
    return main is not None and main.name == "mammofast.screening.alone"


def _die(fate: str) -> None:
    if fate == MACHINE and not _is_alone():  # such a process has not the pipe, and is what is lost
        os.write(int(os.environ[PIPE]), bytes([int(os.environ[CARD])]))
        time.sleep(10)
    os.kill(os.getpid(), signal.SIGKILL)


class Cards:
    """One process for each card, started again some time after it died."""

    def __init__(self, model: Model, address: str, folder: Path) -> None:
        self._model, self._address, self._folder = model, address, folder
        self._lost, self._pipe = os.pipe()
        self._running: dict[int, int] = {}
        self._due = dict.fromkeys(range(model.cards), 0.0)
        self.deaths = 0

    def look(self) -> None:
        """Bury, start again, and lose what is to be lost."""
        for process, card in list(self._running.items()):
            if os.waitpid(process, os.WNOHANG)[0]:
                del self._running[process]
                self._due.setdefault(card, time.monotonic() + self._model.restart_s)
                self.deaths += 1
        if select.select([self._lost], [], [], 0)[0]:
            machine = os.read(self._lost, 1)[0] // self._model.cards_a_machine
            for process, card in self._running.items():
                if card // self._model.cards_a_machine == machine:
                    self._due[card] = time.monotonic() + self._model.machine_s
                    os.kill(process, signal.SIGKILL)
        running = set(self._running.values())
        for card in [card for card, at in self._due.items() if at <= time.monotonic() and card not in running]:
            del self._due[card]
            self._running[fork(lambda card=card: self._work(card))] = card

    def end(self) -> None:
        """Switch them off."""
        for process in self._running:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)

    def _work(self, card: int) -> None:
        os.environ |= {PIPE: str(self._pipe), CARD: str(card)}
        # Cards are other machines: where this program was given some cores, they have the others.
        if others := set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0):
            os.sched_setaffinity(0, others)
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)

        async def work() -> None:
            scratch = str(self._folder / f"card-{card}-{os.getpid()}")
            options = {"host": "127.0.0.1", "dashboard": False, "memory_limit": 0, "local_directory": scratch}
            async with Worker(self._address, nthreads=self._model.threads, **options) as worker:
                await worker.finished()

        asyncio.run(work())


def fork(work: Any) -> int:
    """Run something in a process of its own; return its id."""
    process = os.fork()
    if process:
        return process
    # No one of these processes outlives the first.
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        work()
    finally:
        os._exit(1)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _schedule(answer: int) -> None:
    gc.set_threshold(*(3 * threshold for threshold in gc.get_threshold()))  # as `dask scheduler` does

    async def schedule() -> None:
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler:
            os.write(answer, scheduler.address.encode())
            os.close(answer)
            await scheduler.finished()

    asyncio.run(schedule())


def main() -> None:
    """Keep everything running until standard input ends; then say how many processes died."""
    folder, model = Path(sys.argv[1]), Model(**json.loads(sys.argv[2]))
    os.environ |= {MODEL: json.dumps(asdict(model)), FOLDER: str(folder)}
    logging.disable(logging.CRITICAL)
    answer, tell = os.pipe()
    with dask.config.set(_CONFIG):
        scheduler = fork(lambda: _schedule(tell))
        os.close(tell)
        address = os.read(answer, 200).decode()
        print(address, scheduler, flush=True)
        # What a worker of the simulation does besides is nobody's cost.
        with dask.config.set({"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"}):
            cards = Cards(model, address, folder)
            while not select.select([sys.stdin], [], [], _LOOK_SECONDS)[0]:
                cards.look()
            cards.end()
    os.kill(scheduler, signal.SIGKILL)
    print(cards.deaths, flush=True)


if __name__ == "__main__":
    main()
