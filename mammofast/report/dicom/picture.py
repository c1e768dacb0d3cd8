"""A Secondary Capture of each image with its findings' outlines burnt in: for whoever can show nothing else."""

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DS

from mammofast.errors import ImageError
from mammofast.records import combine_masks, level_shape
from mammofast.report.dicom.context import put_context, text_of
from mammofast.report.dicom.identity import image_object_uid, series_uid
from mammofast.report.dicom.references import Reference
from mammofast.report.dicom.source import orientation_of, source_of, spacing_of
from mammofast.report.dicom.study import StudyImage, StudyResults
from mammofast.report.dicom.vocabulary import code_item
from mammofast.report.pictures import grey_picture, picture_level

KIND = "picture"
# The longer side in pixels, at most.
_SIDE = 2048
_WHITE, _BLACK = 255, 0


def picture(study: StudyResults, image: StudyImage) -> Dataset | None:
    """Return an 8-bit picture of an image that has findings; None where there is none, or its pixels cannot be read.

    Nothing is written on it, neither the patient nor a score.
    """
    if not image.findings:
        return None
    level = picture_level(image.shape, _SIDE)
    try:
        grey = grey_picture(image.source, level)
    except ImageError:
        return None
    dataset = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=source_of(image),
        pixel_array=outlined(grey, image, level),
        photometric_interpretation="MONOCHROME2",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=series_uid(study, KIND),
        series_number=1,
        sop_instance_uid=image_object_uid(image, KIND),
        instance_number=1,
        manufacturer="",
        patient_orientation=("L", "P"),  # it knows no oblique directions; the image's own follow below
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    dataset.Modality = "OT"  # what searches a PACS for mammograms is not to find it
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "WSD"
    dataset.PatientOrientation = list(orientation_of(image))
    dataset.Laterality = ""
    _put_derivation(dataset, study, image)
    _put_spacing(dataset, image, level)
    put_context(dataset, study, KIND, str(dataset.SOPInstanceUID), images=[image])
    return dataset


def outlined(grey: npt.NDArray[np.uint8], image: StudyImage, level: int) -> npt.NDArray[np.uint8]:
    """Return a level's picture with white outlines edged in black around the findings, outside of their pixels."""
    step = 1 << level
    rows, cols = level_shape(image.shape, level)
    mask = np.zeros((rows * step, cols * step), dtype=bool)
    mask[: image.shape[0], : image.shape[1]] = combine_masks(image.findings, image.shape)
    inside = np.asarray(mask.reshape(rows, step, cols, step).any(axis=(1, 3)))
    white = _grown(_grown(inside))
    drawn = grey.copy()
    drawn[_grown(white)] = _BLACK
    drawn[white] = _WHITE
    drawn[inside] = grey[inside]
    return drawn


def _grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return a mask and the pixels that touch it."""
    padded = np.pad(mask, 1)
    across = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    grown: npt.NDArray[np.bool_] = across[:-2] | across[1:-1] | across[2:]
    return grown


def _put_derivation(dataset: Dataset, study: StudyResults, image: StudyImage) -> None:
    dataset.DerivationDescription = "Outlines of CAD findings drawn on a reduced picture"
    item = Reference.to_image(image).item
    purpose = code_item(codes.DCM.SourceImageForImageProcessingOperation)
    item.PurposeOfReferenceCodeSequence = Sequence([purpose])
    dataset.SourceImageSequence = Sequence([item])
    # What is burnt into the source is burnt into the picture; where the source does not say, neither can we.
    burnt_in = text_of(image.header, "BurnedInAnnotation")
    if burnt_in in ("YES", "NO"):
        dataset.BurnedInAnnotation = burnt_in
    lossy = text_of(image.header, "LossyImageCompression")
    if lossy in ("00", "01"):
        dataset.LossyImageCompression = lossy
    if study.algorithm.notice:
        dataset.ImageComments = study.algorithm.notice[:10240]


def _put_spacing(dataset: Dataset, image: StudyImage, level: int) -> None:
    spacing = spacing_of(image)
    if spacing is not None:
        dataset.PixelSpacing = [DS(value * (1 << level), auto_format=True) for value in spacing]
