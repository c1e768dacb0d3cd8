"""The classic baselines over a data set, measured as results are, for the same tables."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.datasets import Sample
from mammofast.datasets.images import source_of
from mammofast.errors import DatasetError, ResultsError
from mammofast.evaluation.baselines import BASELINES, Mask
from mammofast.evaluation.segmentation import Fit, fit, summarize
from mammofast.methods.contrast import MinMax
from mammofast.records import GreyPipeline

# P1 resizes whole mammograms so.
SHAPE = (512, 512)
# In P1 a person points these to the mass.
INTERACTIVE = ("level-set", "graph-cut")


def measure_baselines(
    names: Sequence[str],
    samples: Sequence[Sample],
    *,
    told: bool = True,
    shape: tuple[int, int] = SHAPE,
    resamples: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Segment images that hold a mass by classic means, and measure the masks at native resolution.

    Parameters
    ----------
    names: of ``BASELINES``. samples: images without a mass are passed over, as in P1.
    told: tell level set and graph cut where each mass is, as a person does in P1: a disc in its middle, half as wide as
        a disc of its area. They then measure an outline and no search.
    shape: (rows, cols) that images are stretched to.
    resamples, seed: of the bootstrap over patients.

    Returns
    -------
    By name, with "unaided" in front of one that was not told what P1's is: ``masks``, as ``evaluate`` has it.

    Raises
    ------
    ResultsError
        When no image holds a mass, or one cannot be read.

    """
    titles = {name: f"unaided {name.replace('-', ' ')}" if name in INTERACTIVE and not told else name for name in names}
    fits: dict[str, list[Fit]] = {title: [] for title in titles.values()}
    for sample in samples:
        try:
            image, truth, spacing = _read(sample, shape)
        except DatasetError as error:
            raise ResultsError(f"an image or its truth: {error}") from error
        if truth.any():
            place = _discs(truth, shape) if told else None
            for name, title in titles.items():
                found = BASELINES[name](image, view=sample.view, told=place if name in INTERACTIVE else None)
                fits[title].append(fit(sample.patient, _stretched(found, truth.shape), truth > 0, spacing))
        if progress is not None:
            progress(1, len(samples))
    if not any(fits.values()):
        raise ResultsError("no image of the data set holds a mass; there is nothing to segment")
    return {title: {"masks": summarize(found, resamples, seed)} for title, found in fits.items()}


def _read(
    sample: Sample, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], tuple[float, float] | None]:
    """Return an image's greys at a size, 0 to 1, its labels at native size, and mm between its pixels."""
    source = source_of(sample)
    truth = sample.masses(source.shape)
    if not truth.any():
        return np.empty((0, 0), np.float32), truth, None
    pixels, table = source.read(), source.grey_table(GreyPipeline())
    low, high = MinMax().window(pixels, table)
    (grey,) = ops.detection_inputs(pixels, table, low, high, [shape])
    return grey, truth, source.pixel_spacing


def _discs(truth: npt.NDArray[np.uint8], shape: tuple[int, int]) -> Mask:
    """Return a disc in the middle of each mass, half as wide as a disc of its area, at the working size."""
    rows, cols = ((np.arange(n) + 0.5) * size / n for n, size in zip(shape, truth.shape, strict=True))
    found = np.zeros(shape, np.bool_)
    for label in np.unique(truth[truth > 0]):
        y, x = np.nonzero(truth == label)
        radius = 0.5 * np.sqrt(len(y) / np.pi)
        away = (rows[:, None] - y.mean() - 0.5) ** 2 + (cols[None] - x.mean() - 0.5) ** 2
        # At least one pixel, however small the mass is at this size.
        found |= away <= max(radius**2, float(away.min()))
    return found


def _stretched(mask: Mask, shape: tuple[int, ...]) -> Mask:
    rows, cols = (
        ((np.arange(size) + 0.5) * own / size).astype(int) for size, own in zip(shape, mask.shape, strict=True)
    )
    return np.asarray(mask[np.ix_(rows, cols)])
