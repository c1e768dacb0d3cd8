"""Where the masses are: label images, 8-bit PNG of native size, 0 = no mass, k = mass k."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.errors import ResultsError
from mammofast.records import tight_box


def read_truth(path: Path, shape: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """Return an image's labels, uint8 (rows, cols).

    Raises
    ------
    ResultsError
        When the file cannot be read, or is not of ``shape``, the image's, where that is known.

    """
    import imagecodecs

    try:
        labels: npt.NDArray[np.uint8] = imagecodecs.png_decode(path.read_bytes())
    except (OSError, RuntimeError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read as PNG ({type(error).__name__})") from error
    if labels.shape != (shape or labels.shape) or labels.ndim != 2 or labels.dtype != np.uint8:
        size = "any shape (rows, cols)" if shape is None else f"the image's {shape}"
        raise ResultsError(f"{path}: got {labels.dtype} of shape {labels.shape}, expected uint8 of {size}")
    return labels


def label_boxes(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return the tight box (x_min, y_min, x_max, y_max), half-open, of every label but 0: (n, 4) by rising label."""
    found = [tight_box(labels == label) for label in np.unique(labels[labels != 0])]
    return np.array(found, dtype=np.int64).reshape(-1, 4)
