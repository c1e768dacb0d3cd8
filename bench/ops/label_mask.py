"""Connected components of a native-resolution mask: ours beside scikit-image, OpenCV and SciPy."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from bench.harness import interleave, report
from mammofast import ops

SHAPE = (4096, 3328)
Mask = npt.NDArray[np.bool_]
Found = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]  # labels, boxes, areas
REASONS = {
    "one mass": "what segmentation gives: one component, nearly all of the mask empty",
    "blobs": "smooth blobs over a tenth of the image: a network that is not sure of itself",
    "half": "smooth blobs over half of the image: large components with long outlines",
    "noise": "independent pixels, 40 % set: the worst that can come, a run every four pixels",
}


def cases(rounds: int) -> list[dict[str, Any]]:
    """Return every kind of mask."""
    return [_case(kind, rounds) for kind in REASONS]


def _case(kind: str, rounds: int) -> dict[str, Any]:
    mask = draw_mask(kind, np.random.default_rng(3))
    ways: dict[str, Callable[[], Found]] = {
        "mammofast": partial(ops.label_mask, mask),
        "OpenCV connectedComponentsWithStats": partial(by_opencv, mask),
        "SciPy label, find_objects, bincount": partial(by_scipy, mask),
        "scikit-image label, regionprops": partial(by_skimage, mask),
    }
    if kind == "noise":
        del ways["scikit-image label, regionprops"]  # an object for each of 200,000 components: minutes
    ours = ways["mammofast"]()
    for name, way in ways.items():
        for have, want in zip(canonical(way()), ours, strict=True):
            np.testing.assert_array_equal(have, want, err_msg=name)
    return report(
        f"label_mask, {kind}",
        REASONS[kind],
        interleave(ways, rounds),
        "mammofast",
        components=len(ours[2]),
        pixels_set=int(mask.sum()),
    )


def draw_mask(kind: str, rng: np.random.Generator) -> Mask:
    """Return a mask of ``SHAPE``."""
    if kind == "noise":
        return rng.random(SHAPE) < 0.4
    if kind == "one mass":
        y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
        return (y - 2000) ** 2 + (x - 1200) ** 2 < 300**2
    smooth = cv2.GaussianBlur(rng.standard_normal(SHAPE).astype(np.float32), (0, 0), 20)
    return smooth > np.quantile(smooth[::8, ::8], 0.9 if kind == "blobs" else 0.5)


def by_opencv(mask: Mask) -> Found:
    """Label with OpenCV, whose statistics come with the labels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    low, size = stats[1:, :2], stats[1:, 2:4]
    return labels, np.concatenate([low, low + size], axis=1), stats[1:, 4]


def by_scipy(mask: Mask) -> Found:
    """Label with SciPy, then look for boxes and count."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    return labels, np.array(boxes).reshape(-1, 4), np.bincount(labels.ravel())[1:]


def by_skimage(mask: Mask) -> Found:
    """Label with scikit-image, then ask each region."""
    labels = measure.label(mask, connectivity=2)
    regions = measure.regionprops(labels)
    boxes = [(r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2]) for r in regions]
    return labels, np.array(boxes).reshape(-1, 4), np.array([r.num_pixels for r in regions])


def canonical(found: Found) -> Found:
    """Return components in raster order of their first pixels."""
    labels, boxes, areas = found
    kinds, firsts = np.unique(labels, return_index=True)
    order = kinds[kinds > 0][np.argsort(firsts[kinds > 0])]
    renamed = np.zeros(len(order) + 1, np.int64)
    renamed[order] = np.arange(1, len(order) + 1)
    return renamed[labels], boxes[order - 1], areas[order - 1]
