"""What of a volume is a segment: the breast region, and every candidate's part of it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mammofast.report.dicom.identity import derived_uid, tracking_id, tracking_uid
from mammofast.report.dicom.study import StudyVolume


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One segment of a volume, the same in every object.

    number: of the segment, from 1. finding: the candidate's number in the results' tables; None for the breast region.
    box: (x_min, y_min, x_max, y_max) and z: (z_min, z_max), half-open, hold all its voxels.
    voxels: bool, the box's size, (slices, rows, cols); at least one is set.
    """

    number: int
    finding: int | None
    tracking_id: str
    tracking_uid: str
    box: tuple[int, int, int, int]
    z: tuple[int, int]
    voxels: npt.NDArray[np.bool_] = field(repr=False)

    @property
    def slices(self) -> list[int]:
        """The slices in which it has a voxel, rising."""
        return [self.z[0] + int(z) for z in np.flatnonzero(self.voxels.any(axis=(1, 2)))]


def segments(volume: StudyVolume) -> tuple[Segment, ...]:
    """Return a volume's segments: the breast region where it has a voxel, then the candidates in the tables' order.

    A candidate is a box; its segment is the part of it that lies within the breast region, the whole box where none
    does.
    """
    found: list[Segment] = []
    region = volume.region
    slices, rows, cols = region.shape
    if region.any():
        words = "breast region", derived_uid("region", volume.sop_uid, volume.identity)
        found.append(Segment(1, None, *words, (0, 0, cols, rows), (0, slices), region))
    for k, finding in enumerate(volume.findings, start=1):
        (x_min, y_min, x_max, y_max), z = finding.box, (finding.z_min, finding.z_max)
        within = region[z[0] : z[1], y_min:y_max, x_min:x_max]
        voxels = within if within.any() else np.ones_like(within)
        if voxels.size:
            words = tracking_id(volume, k), tracking_uid(volume, k)
            found.append(Segment(len(found) + 1, k, *words, finding.box, z, voxels))
    return tuple(found)
