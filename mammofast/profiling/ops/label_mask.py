"""Connected components of a native-resolution mask: ours beside OpenCV, cc3d, SciPy and scikit-image."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Contest
from mammofast.profiling.ops.drawing import SHAPE, blurred
from mammofast.profiling.ops.peers import beside, peer

REASONS = {
    "one mass": "what segmentation gives: one component, nearly all of the mask empty",
    "blobs": "smooth blobs over a tenth of the image: a network that is not sure of itself",
    "half": "smooth blobs over half of the image: large components with long outlines",
    "noise": "independent pixels, 40 % set: the worst that can come, a run every four pixels",
}
Mask = npt.NDArray[np.bool_]
Found = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]  # labels, boxes, areas


def _case(kind: str, name: str) -> Contest:
    mask = draw_mask(kind, np.random.default_rng(3))
    # scikit-image makes an object for each of the noise's 200,000 components: minutes.
    ways, left_out = beside(PEERS[:-1] if kind == "noise" else PEERS, mask)
    return Contest(
        name,
        REASONS[kind],
        partial(ops.label_mask, mask),
        ways,
        smallest=partial(ops.label_mask, np.zeros((1, 1), bool)),
        left_out=left_out,
        facts={"components": len(ops.label_mask(mask).areas), "pixels_set": int(mask.sum())},
    )


def draw_mask(kind: str, rng: np.random.Generator) -> Mask:
    """Return a mask of ``SHAPE``."""
    if kind == "noise":
        return rng.random(SHAPE) < 0.4
    if kind == "one mass":
        y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
        return np.asarray((y - 2000) ** 2 + (x - 1200) ** 2 < 300**2)
    smooth = blurred(rng.standard_normal(SHAPE).astype(np.float32), 20)
    return np.asarray(smooth > np.quantile(smooth[::8, ::8], 0.9 if kind == "blobs" else 0.5))


def by_opencv(mask: Mask) -> Found:
    """Label with OpenCV, whose statistics come with the labels."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    low, size = stats[1:, :2], stats[1:, 2:4]
    return labels, np.concatenate([low, low + size], axis=1), stats[1:, 4]


def by_cc3d(mask: Mask) -> Found:
    """Label with cc3d, then ask for its statistics."""
    import cc3d

    labels = cc3d.connected_components(mask, connectivity=8)
    statistics = cc3d.statistics(labels, no_slice_conversion=True)
    y_min, y_max, x_min, x_max = statistics["bounding_boxes"][1:].T.astype(np.int64)
    return labels, np.stack([x_min, y_min, x_max + 1, y_max + 1], axis=1), statistics["voxel_counts"][1:]


def by_scipy(mask: Mask) -> Found:
    """Label with SciPy, then look for boxes and count."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    return labels, np.array(boxes).reshape(-1, 4), np.bincount(labels.ravel())[1:]


def by_skimage(mask: Mask) -> Found:
    """Label with scikit-image, then ask each region."""
    from skimage import measure

    labels = measure.label(mask, connectivity=2)
    regions = measure.regionprops(labels)
    boxes = [(r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2]) for r in regions]
    return labels, np.array(boxes).reshape(-1, 4), np.array([r.num_pixels for r in regions])


def _same(ours: ops.LabelledMask, found: Found) -> bool:
    labels, boxes, areas = canonical(found)
    same = (labels, ours.labels), (boxes, ours.boxes), (areas, ours.areas)
    return all(np.array_equal(*pair) for pair in same)


def canonical(found: Found) -> Found:
    """Return components in raster order of their first pixels."""
    labels, boxes, areas = found
    kinds, firsts = np.unique(labels, return_index=True)
    order = kinds[kinds > 0][np.argsort(firsts[kinds > 0])].astype(np.int64)
    renamed = np.zeros(len(order) + 1, np.int64)
    renamed[order] = np.arange(1, len(order) + 1)
    return renamed[labels], boxes[order - 1], areas[order - 1]


PEERS = (
    peer("OpenCV connectedComponentsWithStats", ("cv2",), by_opencv, _same),
    peer("cc3d connected_components, statistics", ("cc3d",), by_cc3d, _same),
    peer("SciPy label, find_objects, bincount", ("scipy",), by_scipy, _same),
    peer("scikit-image label, regionprops", ("skimage",), by_skimage, _same),
)
CASES = {f"label_mask, {kind}": partial(_case, kind) for kind in REASONS}
