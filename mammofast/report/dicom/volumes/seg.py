"""DICOM Segmentation of a volume: the breast region and every candidate, slice by slice (PS3.3 A.51)."""

from collections.abc import Sequence

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from mammofast.report.dicom.context import put_context
from mammofast.report.dicom.identity import derived_uid, image_object_uid, series_uid
from mammofast.report.dicom.source import no_patient
from mammofast.report.dicom.study import StudyResults, StudyVolume
from mammofast.report.dicom.vocabulary import ABNORMAL, ANATOMICAL, BREAST, MASS, algorithm_identification
from mammofast.report.dicom.volumes.frames import frame_references, referenced_series, source_instances
from mammofast.report.dicom.volumes.segments import Segment, segments

KIND = "dicom-seg"
SOP_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def segmentation_uid(volume: StudyVolume) -> str:
    """Return the SOP Instance UID of a volume's segmentation."""
    return image_object_uid(volume, KIND)


def segmentation(study: StudyResults, volume: StudyVolume) -> Dataset | None:
    """Return a volume's segments as a SEG with a frame for every slice in which one has a voxel; None without any.

    Frames lie on those of the phase that the candidates were seen in, voxel for voxel.
    """
    found = segments(volume)
    if not found:
        return None
    # highdicom looks at every voxel of every segment several times, and knows a source as single frames or as one
    # object: it is given slices of one pixel, and which frames they are, and their pixels, are put in after.
    there = np.zeros((volume.source.record.slices, 1, 1, len(found)), dtype=np.uint8)
    for segment in found:
        there[segment.slices, 0, 0, segment.number - 1] = 1
    spacing = volume.source.record.spacing
    dataset = hd.seg.Segmentation(
        source_images=_slices(volume),
        pixel_array=there,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(study, segment) for segment in found],
        series_instance_uid=series_uid(study, KIND),
        series_number=1,
        sop_instance_uid=segmentation_uid(volume),
        instance_number=1,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
        pixel_measures=hd.PixelMeasuresSequence(spacing[1:], spacing[0], spacing[0]),
        content_label="CAD",
        content_description="Breast region and findings of computer-aided detection",
    )
    dataset.Rows, dataset.Columns = volume.source.shape[1:]
    _put_frames(dataset, volume, found)
    dataset.SegmentsOverlap = "YES" if _overlap(found, volume.source.shape) else "NO"
    instances = source_instances(volume)
    dataset.SourceImageSequence = [instance.item for instance in instances]
    dataset.ReferencedSeriesSequence = referenced_series(instances)
    organization = derived_uid("dimensions", dataset.SOPInstanceUID)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    put_context(dataset, study, KIND, str(dataset.SOPInstanceUID), images=[volume])
    # All objects of a series share a Frame of Reference (PS3.3 A.1.2.5).
    dataset.SeriesInstanceUID = derived_uid("series in frame", series_uid(study, KIND), dataset.FrameOfReferenceUID)
    return dataset


def _slices(volume: StudyVolume) -> list[Dataset]:
    """Return every slice as an image of its own, of one pixel, as highdicom is to know it."""
    record = volume.source.record
    (orientation,) = hd.PlaneOrientationSequence("PATIENT", record.image_orientation)
    found = []
    for z, where in enumerate(record.positions):
        (position,) = hd.PlanePositionSequence("PATIENT", where)
        source = no_patient()
        source.Modality, source.SOPClassUID = "MR", _MR_IMAGE
        source.SOPInstanceUID = _slice_uid(z)
        source.StudyInstanceUID, source.SeriesInstanceUID = record.study_uid, record.series_uid
        source.FrameOfReferenceUID, source.PositionReferenceIndicator = record.frame_of_reference_uid, ""
        source.ImageOrientationPatient = orientation.ImageOrientationPatient
        source.ImagePositionPatient = position.ImagePositionPatient
        source.PixelSpacing, source.SliceThickness = list(record.spacing[1:]), record.spacing[0]
        source.Rows = source.Columns = 1
        source.SamplesPerPixel, source.PhotometricInterpretation = 1, "MONOCHROME2"
        source.BitsAllocated, source.BitsStored = 16, record.bits_stored
        found.append(source)
    return found


def _slice_uid(z: int) -> str:
    """Return what highdicom knows a slice by."""
    return derived_uid("slice", z)


def _put_frames(dataset: Dataset, volume: StudyVolume, found: Sequence[Segment]) -> None:
    """Name each frame's true source, and put its pixels in, one bit each (PS3.5 8.1.1, D).

    Which slice and segment a frame is of is what highdicom says of it: its order is its own.
    """
    _, rows, cols = volume.source.shape
    references = frame_references(volume)
    slices = {_slice_uid(z): z for z in range(len(references))}
    frames = dataset.PerFrameFunctionalGroupsSequence
    # Frames of one slice share the item that names it.
    sources = [groups.DerivationImageSequence[0].SourceImageSequence[0] for groups in frames]
    of_slices = [slices[source.ReferencedSOPInstanceUID] for source in sources]
    pixels: npt.NDArray[np.bool_] = np.zeros((len(frames), rows, cols), dtype=bool)
    for frame, groups, source, z in zip(pixels, frames, sources, of_slices, strict=True):
        segment = found[_segment_number(groups, dataset) - 1]
        x_min, y_min, x_max, y_max = segment.box
        frame[y_min:y_max, x_min:x_max] = segment.voxels[z - segment.z[0]]
        reference, number = references[z]
        source.update(reference.item)
        if number is not None:
            source.ReferencedFrameNumber = number
    packed = np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)


def _segment_number(groups: Dataset, dataset: Dataset) -> int:
    """Return a frame's segment; highdicom says it for all frames where there is one segment only."""
    said = groups if "SegmentIdentificationSequence" in groups else dataset.SharedFunctionalGroupsSequence[0]
    return int(said.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _overlap(found: Sequence[Segment], shape: tuple[int, int, int]) -> bool:
    """Say whether two segments have a voxel in common."""
    taken = np.zeros(shape, dtype=bool)
    for segment in found:
        x_min, y_min, x_max, y_max = segment.box
        window = taken[slice(*segment.z), y_min:y_max, x_min:x_max]
        if np.any(window & segment.voxels):
            return True
        window |= segment.voxels
    return False


def _described(study: StudyResults, segment: Segment) -> hd.seg.SegmentDescription:
    mass = segment.finding is not None
    return hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=f"Mass {segment.tracking_id}" if mass else "Breast region",
        segmented_property_category=ABNORMAL if mass else ANATOMICAL,
        segmented_property_type=MASS if mass else BREAST,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm_identification(study.algorithm),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        anatomic_regions=[BREAST] if mass else None,
    )
