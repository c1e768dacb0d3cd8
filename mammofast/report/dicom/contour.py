r"""A finding as DICOM draws it: one closed polygon and a centre.

SCOORD (PS3.3 C.18.6.1.1) and graphic annotations in units of PIXEL (C.10.5) count alike: 0\0 is the outer corner of
the first pixel, Columns\Rows that of the last. That is the convention of boxes too.
"""

import numpy as np
import numpy.typing as npt

from mammofast.records import Finding
from mammofast.report.outline import enclosed_area, polygons

# A value of VR FL holds 65534 bytes with explicit VR (PS3.5 7.1.2): 8191 points of two.
MAX_POINTS = 8000


def contour(finding: Finding) -> npt.NDArray[np.float64]:
    """Return the outer border of the mask's largest part, of an empty mask its box.

    Returns
    -------
    float64 (n, 2)
        (x, y) in the native image, the last point equal to the first, n <= 8000: a border with more corners is followed
        in squares of 2, 4, ... pixels.

    """
    x, y, _, _ = finding.box
    step = 1
    while found := polygons(finding.mask, step):
        largest = max(found, key=enclosed_area)
        if len(largest) < MAX_POINTS:
            closed: npt.NDArray[np.float64] = np.vstack([largest, largest[:1]]) + np.array((x, y), float)
            return closed
        step *= 2
    return _box(finding)


def centre(finding: Finding) -> tuple[float, float]:
    """Return the mean (x, y) of the mask's pixels, of an empty mask its box's centre."""
    x_min, y_min, x_max, y_max = finding.box
    rows, cols = np.nonzero(finding.mask)
    if not len(rows):
        return (x_min + x_max) / 2, (y_min + y_max) / 2
    return x_min + float(cols.mean()) + 0.5, y_min + float(rows.mean()) + 0.5


def _box(finding: Finding) -> npt.NDArray[np.float64]:
    x_min, y_min, x_max, y_max = finding.box
    return np.array([(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max), (x_min, y_min)], dtype=np.float64)
