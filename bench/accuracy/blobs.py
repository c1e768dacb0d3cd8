"""A classical detector: scikit-image's Laplacian and difference of Gaussians, on a coarse level.

It is given what it can use: the bundle's contrast, the sizes that masses have, only what lies inside the breast, and
the settings that turn out best on the very images it is measured on.
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.feature import blob_dog, blob_log

from bench.accuracy.curves import LIMIT, Found, Truth, describe, marked
from bench.accuracy.fusion import parameters_of
from mammofast import ops
from mammofast.archive import ArchiveImage, open_archive
from mammofast.bundles import load_bundle
from mammofast.methods.two_stage import TwoStageParameters
from mammofast.phantom.masses import DIAMETER_MM

# About 1.1 to 1.5 mm between pixels: the smallest mass is some ten pixels wide.
LEVEL = 4
# A blob of standard deviation s answers best to a disc of radius s·√2.
SIGMA_MM = tuple(diameter / 2 / np.sqrt(2) for diameter in DIAMETER_MM)
SIGMAS, RATIO = 10, 1.3
FILTERS = ("log", "dog")
OVERLAPS = (0.1, 0.5)
# Half the box's side over the blob's radius: a mass is not a disc.
SIDES = (0.8, 0.9, 1.0, 1.15, 1.3)
# Of the contrast's 0..1; far below the best threshold, which the FROC finds.
WEAKEST = 0.02
VARIANTS = tuple(itertools.product(FILTERS, OVERLAPS, SIDES))


def case(archive: Path, truth: Truth, workers: int) -> dict[str, Any]:
    """Return the curve of each filter at its best settings."""
    places = [(image.record.study_uid, image.record.sop_uid) for image in open_archive(archive).images()]
    parts = [places[i : i + 20] for i in range(0, len(places), 20)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        images = list(chain.from_iterable(pool.map(partial(_detect_all, archive), parts)))
    curves = {variant: marked([found[variant] for found in images], truth).froc() for variant in VARIANTS}
    best = {
        kind: max((v for v in VARIANTS if v[0] == kind), key=lambda v: curves[v].sensitivity_at(LIMIT))
        for kind in FILTERS
    }
    return {
        "case": f"classical blob detectors on {len(truth.boxes)} images",
        "reason": "phantoms whose masses a filter finds would show nothing",
        "ways": {_name(variant): describe(curves[variant]) for variant in best.values()},
    }


def _detect_all(archive: Path, places: Sequence[tuple[str, str]]) -> list[dict[tuple[str, float, float], Found]]:
    opened, parameters = open_archive(archive), parameters_of(load_bundle("demo"))
    return [detect(opened.image(*place), parameters) for place in places]


def detect(image: ArchiveImage, parameters: TwoStageParameters) -> dict[tuple[str, float, float], Found]:
    """Return boxes in native pixels and responses, for each of ``VARIANTS``."""
    pixels = image.read(level=LEVEL)
    table = image.grey_table(parameters.grey)
    low, high = parameters.contrast.window(pixels, table)
    shown = ops.detection_inputs(pixels, table, low, high, [pixels.shape])[0]
    assert image.pixel_spacing is not None
    spacing = image.pixel_spacing[0] * 2**LEVEL
    breast = ndimage.binary_erosion(shown > 0, iterations=round(3 / spacing))
    found = {}
    for kind, overlap in itertools.product(FILTERS, OVERLAPS):
        blobs, responses = _blobs(kind, shown, overlap, spacing)
        inside = breast[tuple(blobs[:, :2].astype(int).T)] if len(blobs) else np.zeros(0, bool)
        for side in SIDES:
            found[kind, overlap, side] = (_boxes(blobs[inside], side, image.shape), responses[inside])
    return found


def _blobs(
    kind: str, shown: npt.NDArray[np.float32], overlap: float, spacing: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (y, x, sigma) of each blob and its response, which scikit-image keeps to itself."""
    low, high = (sigma / spacing for sigma in SIGMA_MM)
    if kind == "log":
        blobs = blob_log(shown, low, high, SIGMAS, WEAKEST, overlap)
    else:
        blobs = blob_dog(shown, low, high, RATIO, WEAKEST, overlap)
    responses = np.empty(len(blobs))
    for sigma in np.unique(blobs[:, 2]):
        chosen = blobs[:, 2] == sigma
        y, x = blobs[chosen, :2].astype(int).T
        responses[chosen] = _response(kind, shown, sigma)[y, x]
    return blobs, responses


def _response(kind: str, shown: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    if kind == "log":
        return -(sigma**2) * ndimage.gaussian_laplace(shown, sigma)
    wide = ndimage.gaussian_filter(shown, sigma * RATIO, mode="reflect")
    return (ndimage.gaussian_filter(shown, sigma, mode="reflect") - wide) / (RATIO - 1)


def _boxes(blobs: npt.NDArray[np.float64], side: float, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    centre = (blobs[:, 1::-1] + 0.5) * 2**LEVEL
    reach = (side * np.sqrt(2) * 2**LEVEL) * blobs[:, 2:3]
    return np.clip(np.hstack([centre - reach, centre + reach]), 0, [*shape[::-1], *shape[::-1]])


def _name(variant: tuple[str, float, float]) -> str:
    kind, overlap, side = variant
    return f"{'Laplacian' if kind == 'log' else 'difference'} of Gaussians, overlap {overlap}, side {side}"
