"""``mammofast bench ops --device cuda``: each op's device form beside other ways on the card, one module for each.

A module's ``CASES`` are named builders of contests on a card, at the sizes of a screening night; ``SMALL`` has the same
at a size that a card emulated on the host, or one watched by compute-sanitizer, runs in seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module

from mammofast.errors import ProfilingError
from mammofast.profiling.device.bandwidth import CopyRates
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest
from mammofast.profiling.record import Case
from mammofast.profiling.sampling import Effort

Builder = Callable[[Card, str], DeviceContest]

OPS = (
    "collect_boxes",
    "components",
    "confidence_mask",
    "contrast_windows",
    "decode_yolo",
    "detection_inputs",
    "fuse_boxes",
    "label_mask",
    "nms",
    "paste_masks",
    "roi_align",
    "segmentation_inputs",
    "tiles",
)
PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "numpy", "torch", "torchvision")
NOTES = (
    "Seconds are the card's, between two of its events around many calls in a queue that is held until it is full.",
    "host_waits_ms is the host's time from one call to its finished result on the card.",
    "A way that waits for the card within a call (torchvision's NMS) is timed with that.",
    "bytes_moved counts each input once and each output once; a copy's rate counts what it reads and what it writes.",
    "Ours goes through several sets of inputs where one would stay in the cache, its peers use one set.",
    "The first result of each set is compared with the CPU's before timing, each peer's with ours.",
)


def builders(op: str, small: bool = False) -> Mapping[str, Builder]:
    """Return an op's named cases; a builder takes a card and the name that it stands under.

    Raises
    ------
    ProfilingError
        When there is no such op.

    """
    if op not in OPS:
        raise ProfilingError(f"op: got {op!r}, expected one of {', '.join(OPS)}")
    module = import_module(f"{__name__}.{op}")
    cases: Mapping[str, Builder] = module.SMALL if small else module.CASES
    return cases


def op_cases(
    names: Sequence[str], effort: Effort, card: Card, rates: CopyRates | None, small: bool = False
) -> Iterator[Case]:
    """Yield the cases of some ops (all where none is named), measured on a card.

    rates: the card's, None where it is emulated.

    Raises
    ------
    ProfilingError
        When there is no such op, or something gives another result than it should.

    """
    for unknown in set(names) - set(OPS):
        builders(unknown)
    for op in names or OPS:
        for name, build in builders(op, small).items():
            yield build(card, name).measure(card, rates, effort)
