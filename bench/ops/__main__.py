"""Ops beside their peers, on one core.

python -m bench.ops --json bench/results/ops.json
"""

import os

# Before NumPy, Numba and ONNX Runtime start their threads: everything here runs on one core, as in a worker.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
os.environ["RAYON_NUM_THREADS"] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import cv2
import torch

from bench import harness
from bench.ops import fuse_boxes, label_mask, nms, paste_masks, roi_align

PACKAGES = (
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

OPS = {
    "fuse_boxes": fuse_boxes,
    "label_mask": label_mask,
    "nms": nms,
    "paste_masks": paste_masks,
    "roi_align": roi_align,
}

if __name__ == "__main__":
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("--rounds", {"type": int, "default": 15}),
            ("--only", {"choices": tuple(OPS)}),
        ],
    )
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    measured = []
    for name, module in OPS.items():
        if arguments.only in (None, name):
            measured += module.cases(arguments.rounds)
    harness.write(arguments.json, measured, PACKAGES, NOTES)
