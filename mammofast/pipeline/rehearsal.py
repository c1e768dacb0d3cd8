"""The model's costs, spent in virtual time by the real scheduling: do queues, batches and turns lose anything?"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

from mammofast.pipeline.board import Board
from mammofast.pipeline.model import (
    CLIENT,
    CORES,
    GPU,
    LINK,
    PYTHON,
    RECORDERS,
    STORAGE,
    Assumptions,
    Work,
    works,
)
from mammofast.pipeline.stage import Stage
from mammofast.pipeline.virtual import Server, Timeline, VirtualTime

_ON_DEVICE = ("upload", "prepare", "detect", "fuse", "crop", "segment", "paste")
# A second call waits while one is at work, so that a GPU finds the next one there.
_WORKERS = 2


def rehearse(a: Assumptions, gpus: int, images: int) -> Timeline:
    """Send images through each GPU's pipeline, all at the same time.

    Of several machines one is played, with its part of what they share. images: for each GPU.
    """
    clock = VirtualTime()
    played = min(gpus, a.gpus_a_machine)
    shared = {
        CORES: Server(CORES, max(1, round(played * a.cores_a_gpu))),
        STORAGE: Server(STORAGE),
        CLIENT: Server(CLIENT),
        RECORDERS: Server(RECORDERS, a.recorders),
    }
    slower = {STORAGE: a.gpus_a_machine / played, CLIENT: gpus / played, RECORDERS: gpus / played}
    boards = []
    for number in range(played):
        servers = {**shared, **{name: Server(f"{name} {number}") for name in (GPU, LINK, PYTHON)}}

        def spend(work: Work, servers: dict[str, Server] = servers) -> None:
            for resource, seconds in work.spends.items():
                clock.spend(servers[resource], seconds * slower.get(resource, 1.0))

        boards.append(Board(_stages(a, spend), sample=clock.sampler(number)))
    return clock.run(boards, [range(images)] * played)


def _stages(a: Assumptions, spend: Callable[[Work], None]) -> list[Stage]:
    """Return stages that do nothing but spend; items are images' numbers, units (image, kind, number)."""
    kinds: dict[str, list[Work]] = defaultdict(list)
    for work in works(a):
        kinds[work.stage].append(work)
    readers = ceil(a.cores_a_gpu)

    def stage(name: str, own: Sequence[Work]) -> Stage:
        def call(units: Sequence[Any]) -> Sequence[Any]:
            spend(next(work for work in own if work.kind == units[0][1]))
            return units

        def split(image: int) -> list[tuple[int, int, int]]:
            counts = [(work.kind, _units(image, work.units)) for work in own]
            return [(image, kind, number) for kind, count in counts for number in range(count)]

        def whole(images: Sequence[int]) -> Sequence[int]:
            spend(own[0])
            return images

        workers = readers if CORES in own[0].spends else a.recorders if RECORDERS in own[0].spends else _WORKERS
        if name == "read":
            return Stage(name=name, work=whole, workers=workers)
        return Stage(
            name=name,
            split=split,
            key=lambda unit: unit[1],
            work=call,
            join=lambda image, _: image,
            batch=own[0].batch,
            workers=workers,
            device=name in _ON_DEVICE,
        )

    return [stage(name, own) for name, own in kinds.items()]


def _units(image: int, mean: int) -> int:
    """Return how many units an image has: one where all have one, else from none to twice the mean, in turns."""
    return 1 if mean == 1 else (image * (mean + 1)) % (2 * mean + 1)
