"""DICOM Segmentation: every finding of one image as a binary segment at full resolution (PS3.3 A.51)."""

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.sequence import Sequence

from mammofast.records import Finding, combine_masks
from mammofast.report.dicom.context import put_context
from mammofast.report.dicom.identity import derived_uid, image_object_uid, series_uid, tracking_id, tracking_uid
from mammofast.report.dicom.source import orientation_of, source_of, spacing_of
from mammofast.report.dicom.study import StudyImage, StudyResults
from mammofast.report.dicom.vocabulary import ABNORMAL, BREAST, MASS, SIDES, algorithm_identification, code_item

KIND = "dicom-seg"


def segmentation(study: StudyResults, image: StudyImage) -> Dataset | None:
    """Return one image's findings as a SEG that lies on it pixel for pixel; None where no finding has a pixel.

    Segment k is the k-th finding with a pixel; its label and its tracking identifiers hold the finding's own number.
    """
    numbered = [(n, finding) for n, finding in enumerate(image.findings, start=1) if finding.mask.any()]
    if not numbered:
        return None
    masks = [finding for _, finding in numbered]
    spacing = spacing_of(image)
    source = source_of(image)
    # highdicom looks at every pixel of every segment several times; it is given one pixel, and ours are put in after.
    source.Rows = source.Columns = 1
    dataset = hd.seg.Segmentation(
        source_images=[source],
        pixel_array=np.ones((1, 1, 1, len(masks)), dtype=np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(study, image, number, segment) for segment, (number, _) in enumerate(numbered, start=1)
        ],
        series_instance_uid=series_uid(study, KIND),
        series_number=1,
        sop_instance_uid=image_object_uid(image, KIND),
        instance_number=1,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
        pixel_measures=None if spacing is None else hd.PixelMeasuresSequence(spacing, slice_thickness=None),
        content_label="CAD",
        content_description="Findings of computer-aided detection",
    )
    dataset.Rows, dataset.Columns = image.shape
    dataset.PixelData = packed(masks, image.shape)
    overlap = sum(finding.area_px for finding in masks) > np.count_nonzero(combine_masks(masks, image.shape))
    dataset.SegmentsOverlap = "YES" if overlap else "NO"
    dataset.PatientOrientation = list(orientation_of(image))
    if image.info.laterality is not None:
        dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = Sequence([_anatomy(image.info.laterality)])
    organization = derived_uid("dimensions", dataset.SOPInstanceUID)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    put_context(dataset, study, KIND, str(dataset.SOPInstanceUID), images=[image])
    return dataset


def packed(findings: list[Finding], shape: tuple[int, int]) -> bytes:
    """Return one frame of ``shape`` a finding as Pixel Data with one bit a pixel (PS3.5 8.1.1, D).

    Frames follow each other without padding; the first pixel is the lowest bit of the first byte.
    """
    size = shape[0] * shape[1]
    # An even number of bytes.
    data: npt.NDArray[np.uint8] = np.zeros(-(-size * len(findings) // 16) * 2, dtype=np.uint8)
    for frame, finding in enumerate(findings):
        rows, cols = np.nonzero(finding.mask)
        bit = frame * size + (rows + finding.box[1]) * shape[1] + cols + finding.box[0]
        # Pixels come in rising order, so that those of one byte stand together.
        starts = np.flatnonzero(np.diff(bit >> 3, prepend=-1))
        values = np.left_shift(1, bit & 7).astype(np.uint8)
        data[bit[starts] >> 3] |= np.bitwise_or.reduceat(values, starts)
    return data.tobytes()


def _segment(study: StudyResults, image: StudyImage, number: int, segment: int) -> hd.seg.SegmentDescription:
    description = hd.seg.SegmentDescription(
        segment_number=segment,
        segment_label=f"Mass {tracking_id(image, number)}",
        segmented_property_category=ABNORMAL,
        segmented_property_type=MASS,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm_identification(study.algorithm),
        tracking_uid=tracking_uid(image, number),
        tracking_id=tracking_id(image, number),
        anatomic_regions=[BREAST],
    )
    side = SIDES.get(image.info.laterality)
    if side is not None:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = Sequence([code_item(side)])
    return description


def _anatomy(laterality: str) -> Dataset:
    """Return Frame Anatomy (PS3.3 C.7.6.16.2.8): both breasts' segmentations are in one series, which cannot tell."""
    item = Dataset()
    item.AnatomicRegionSequence = Sequence([code_item(BREAST)])
    item.FrameLaterality = laterality
    return item
