"""A volume's results as the writers get them."""

import numpy as np
import pytest

from mammofast.records import VolumeFinding, VolumeResult
from tests.report.dicom.conftest import RUN
from tests.report.dicom.mr import SHAPE, series

SUMMARY = {
    "name": "demo-mri",
    "method": "volume",
    "notice": "Not for diagnosis.",
    "parameters": {"detection": {"channels": [{"phase": 2, "minus": 0}]}},
}
# The second one has no voxel in the region, the third one overlaps the first.
FINDINGS = (
    VolumeFinding((4, 5, 12, 11), 2, 5, 0.875, 0.875),
    VolumeFinding((0, 0, 2, 2), 0, 2, 0.5, 0.5),
    VolumeFinding((10, 9, 27, 22), 4, 7, 0.25, 0.25),
)


def breast(shape=SHAPE, seed=1):
    """A ragged region that leaves the first slice, the first rows and the first columns free."""
    found = np.zeros(shape, bool)
    found[1:, 3:, 2:] = np.random.default_rng(seed).random((shape[0] - 1, shape[1] - 3, shape[2] - 2)) < 0.7
    return found


@pytest.fixture
def volume_study(night):
    """``volume_study(direction, enhanced)``: one volume's study, with its source objects."""

    def volume_study(direction="axial", enhanced=False, findings=FINDINGS, region=None, **options):
        objects = series(direction, enhanced, **options)
        region = breast() if region is None else region
        (study,) = night.screen(objects, lambda r: VolumeResult(region.shape, findings, region=region), RUN, SUMMARY)
        return study, objects

    return volume_study
