"""How many images a second: what an image of P4's method costs on each resource, and which of them is used up first.

The costs are stated, each with where it comes from: rates of reading were measured on one core, times on the GPU follow
from the networks' arithmetic and a share of the card's ceiling. :mod:`mammofast.pipeline.rehearsal` sends images with
these costs through the real scheduling, to see whether it reaches what the sums promise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

# What is paid with. Each GPU has its own of the first three; its machine's cores and storage it shares with the other
# GPUs there; and a run has one client, which hands out tasks, with some recorders that put results on record.
GPU, LINK, PYTHON, CORES, STORAGE, CLIENT, RECORDERS = (
    "GPU",
    "link",
    "Python",
    "cores",
    "storage",
    "client",
    "recorders",
)
RESOURCES = (GPU, LINK, PYTHON, CORES, STORAGE, CLIENT, RECORDERS)


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU, by its data sheet. flops: matrices, dense, half precision. bandwidth: of its memory, bytes a second."""

    name: str
    flops: float
    bandwidth: float


CARDS = {"h200": Card("NVIDIA H200 SXM", 989.5e12, 4.8e12)}
_ONE_CORE = "measured on a core of an EPYC, opening included, files in the page cache"


def _stated(value: Any, source: str) -> Any:
    return field(default=value, metadata={"source": source})


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the model takes for granted, for an image of 4096 × 3328 from the archive; :meth:`sources` says whence.

    Times are seconds, sizes bytes, arithmetic 10⁹ multiply-adds.
    """

    card: Card
    share: float = _stated(0.21, "of the card's ceiling that the networks reach; 0.21 is the goal, 0.5 the next one")
    candidates: int = _stated(2, "an image; with these 0.21 of the ceiling are 200 images/s")
    detector_gmac: tuple[float, ...] = _stated((9.7, 24.7, 38.6, 65.3, 86.9), "YOLOv3 at P4's five scales, counted")
    segmenter_gmac: float = _stated(143.9, "v19U-Net++ at 256 × 256, counted")
    detection_batch: int = _stated(8, "chosen")
    segmentation_batch: int = _stated(8, "chosen")
    level_bytes: float = _stated(2.0 * 1024 * 832, "level 2, uint16, to the GPU")
    window_bytes: float = _stated(2.0 * 600 * 600, "native pixels under a candidate of 600 × 600, uint16, to the GPU")
    mask_bytes: float = _stated(600 * 600 / 8, "a candidate's mask, bits, from the GPU")
    inputs_bytes: float = _stated(2.0 * 1_193_984, "the detector's inputs at all scales, half precision, written")
    archive_level_bytes: float = _stated(0.42e6, "read of level 2; bench/results/reading.json")
    archive_window_bytes: float = _stated(1.3e6, "read of the native chunks under a candidate; the same")
    read_level: float = _stated(1.8e-3, _ONE_CORE)
    read_window: float = _stated(2.5e-3, _ONE_CORE)
    encode: float = _stated(0.36e-3, "an image's entry with two masks; measured on the same core")
    call: float = _stated(55e-6, "Python for a call of a stage, in a process one after the other; measured there")
    record: float = _stated(5.4e-3, "an entry put on record, two syncs of a virtual disk; 0.14e-3 where nothing syncs")
    recorders: int = _stated(16, "threads that put entries on record, as screening has")
    task: float = _stated(3.5e-3, "Dask's client, a task, 8 in flight; measured on two cores")
    images_per_task: int = _stated(16, "as screening has on cards")
    launches: int = _stated(12, "kernels of a batch before, between and after the networks; estimated")
    launch: float = _stated(5e-6, "a small kernel; estimated")
    link_rate: float = _stated(50e9, "bytes a second between pinned memory and the GPU, PCIe 5 × 16; assumed")
    gpus_a_machine: int = _stated(8, "HGX H200")
    cores_a_machine: int = _stated(112, "two processors of 56 cores, as in a DGX H200")
    storage_rate: float = _stated(20e9, "bytes a second of a machine's NVMe drives; assumed")

    def sources(self) -> dict[str, dict[str, Any]]:
        """Return each number and where it comes from, JSON-ready."""
        own = {item.name: item.metadata["source"] for item in fields(self) if item.metadata}
        known = {name: {"value": getattr(self, name), "source": source} for name, source in own.items()}
        sheet = f"{self.card.name}, data sheet: half precision, dense"
        return {"flops": {"value": self.card.flops, "source": sheet}, **known}

    @property
    def cores_a_gpu(self) -> float:
        """A GPU's part of its machine's cores."""
        return self.cores_a_machine / self.gpus_a_machine


@dataclass(frozen=True, slots=True)
class Work:
    """A stage's calls for units of one kind.

    units: an image has. batch: of them in a call. spends: seconds of a call, full or not, by resource. kind: only units
    of one kind share a call.
    """

    stage: str
    spends: Mapping[str, float]
    units: int = 1
    batch: int = 1
    kind: int = 0


def works(a: Assumptions) -> Iterator[Work]:
    """Yield what is done with an image, in the stages' order."""
    kernels = a.launches / 4 * a.launch  # a quarter each: before and after either network
    boxes, crops = a.detection_batch, a.segmentation_batch
    yield Work(
        "read",
        {PYTHON: a.call, STORAGE: a.archive_level_bytes / a.storage_rate, CORES: a.read_level},
    )
    yield Work("upload", {PYTHON: a.call, LINK: a.level_bytes / a.link_rate})
    moved = (a.level_bytes + a.inputs_bytes) / a.card.bandwidth
    yield Work("prepare", {PYTHON: a.call, GPU: kernels + moved})
    for scale, gmac in enumerate(a.detector_gmac):
        yield Work("detect", {PYTHON: a.call, GPU: boxes * _seconds(a, gmac)}, batch=boxes, kind=scale)
    yield Work("fuse", {PYTHON: a.call, GPU: kernels}, batch=boxes)
    n = a.candidates
    yield Work(
        "read native",
        {PYTHON: a.call, STORAGE: a.archive_window_bytes / a.storage_rate, CORES: a.read_window},
        units=n,
    )
    yield Work("crop", {PYTHON: a.call, LINK: crops * a.window_bytes / a.link_rate, GPU: kernels}, units=n, batch=crops)
    yield Work("segment", {PYTHON: a.call, GPU: crops * _seconds(a, a.segmenter_gmac)}, units=n, batch=crops)
    yield Work("paste", {PYTHON: a.call, GPU: kernels, LINK: crops * a.mask_bytes / a.link_rate}, units=n, batch=crops)
    yield Work("encode", {PYTHON: a.call, CORES: a.encode})
    yield Work("record", {CLIENT: a.task / a.images_per_task, RECORDERS: a.record})


def _seconds(a: Assumptions, gmac: float) -> float:
    """Return how long a network takes for an image at the assumed share of the ceiling."""
    return 2e9 * gmac / (a.card.flops * a.share)


def demand(a: Assumptions) -> dict[str, float]:
    """Return the seconds that an image takes of each resource."""
    seconds = dict.fromkeys(RESOURCES, 0.0)
    for work in works(a):
        for resource, spent in work.spends.items():
            seconds[resource] += spent * work.units / work.batch
    return seconds


def capacity(a: Assumptions, gpus: int) -> dict[str, float]:
    """Return how much there is of each resource; of a machine's, the part of the GPUs that are used."""
    own = dict.fromkeys((GPU, LINK, PYTHON), float(gpus))
    return {**own, CORES: gpus * a.cores_a_gpu, STORAGE: gpus / a.gpus_a_machine, CLIENT: 1.0, RECORDERS: a.recorders}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the sums say. allows: images a second that each resource allows. gpus: how many there are."""

    gpus: int
    assumptions: Assumptions
    allows: Mapping[str, float]

    @property
    def limit(self) -> str:
        """The resource that is used up first."""
        return min(self.allows, key=self.allows.__getitem__)

    @property
    def images_per_second(self) -> float:
        """The rate that it allows."""
        return self.allows[self.limit]

    @property
    def used(self) -> dict[str, float]:
        """How much of each resource is used at that rate."""
        return {name: self.images_per_second / rate for name, rate in self.allows.items()}

    @property
    def cores_needed(self) -> float:
        """Cores that read and encode for one GPU that never waits."""
        return demand(self.assumptions)[CORES] * self.allows[GPU] / self.gpus

    @property
    def stage(self) -> str:
        """The stage that takes most of the limit."""
        spent: dict[str, float] = {}
        for work in works(self.assumptions):
            share = work.spends.get(self.limit, 0.0) * work.units / work.batch
            spent[work.stage] = spent.get(work.stage, 0.0) + share
        return max(spent, key=spent.__getitem__)


def forecast(a: Assumptions, gpus: int) -> Forecast:
    """Add up what an image costs, and say how many a second so many GPUs make of it."""
    needed, there = demand(a), capacity(a, gpus)
    return Forecast(gpus, a, {name: there[name] / needed[name] for name in RESOURCES})
