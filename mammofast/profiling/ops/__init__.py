"""``mammofast bench ops``: each op beside the ways others take, one module for each op.

A module's ``CASES`` are named builders of contests: nothing is drawn before it is asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module

from mammofast.errors import ProfilingError
from mammofast.profiling.contest import Contest
from mammofast.profiling.one_core import one_core
from mammofast.profiling.record import Case
from mammofast.profiling.sampling import Effort

# Each is a module here, imported when it is measured: peers must find their threads limited.
OPS = (
    "confidence_mask",
    "decode_yolo",
    "detection_inputs",
    "fuse_boxes",
    "label_mask",
    "nms",
    "paste_masks",
    "pool",
    "roi_align",
    "segmentation_inputs",
)
PACKAGES = (
    "connected-components-3d",
    "ensemble-boxes",
    "lsnms",
    "numba",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "scikit-image",
    "scipy",
    "torch",
)
NOTES = (
    "One process pinned to one core; all libraries told to use one thread, as in a worker.",
    "Each peer gets its arguments in the form it likes best; making that form is not counted, nor is warming up.",
    "Outputs are checked against each other before timing; results are new arrays for everyone, canvases included.",
)


def builders(op: str) -> Mapping[str, Callable[[str], Contest]]:
    """Return an op's named cases; a builder takes the name that it stands under.

    Raises
    ------
    ProfilingError
        When there is no such op.

    """
    if op not in OPS:
        raise ProfilingError(f"op: got {op!r}, expected one of {', '.join(OPS)}")
    cases: Mapping[str, Callable[[str], Contest]] = import_module(f"{__name__}.{op}").CASES
    return cases


def op_cases(names: Sequence[str], effort: Effort) -> Iterator[Case]:
    """Yield the cases of some ops (all where none is named), measured on one core.

    Raises
    ------
    ProfilingError
        When there is no such op, or a peer gives another result than ours.

    """
    for unknown in set(names) - set(OPS):
        builders(unknown)
    with one_core():
        for op in names or OPS:
            for name, build in builders(op).items():
                yield build(name).measure(effort)
