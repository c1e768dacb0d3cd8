"""Mammograms as different makers describe them: what the objects we write must cope with.

Each style is a function that changes a complete, modern header; ``mammogram`` gives one with pixels.
"""

import numpy as np
from pydicom import Dataset, config
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

# View Position: PS3.16 CID 4014's SCT and SRT codes, and the meaning.
VIEWS = {
    "CC": ("399162004", "R-10242", "cranio-caudal"),
    "MLO": ("399368009", "R-10226", "medio-lateral oblique"),
    "ML": ("399260004", "R-10224", "medio-lateral"),
    "LM": ("399352003", "R-10228", "latero-medial"),
    "LMO": ("399099002", "R-10230", "latero-medial oblique"),
    "XCCL": ("399192008", "R-1024A", "cranio-caudal exaggerated laterally"),
    "XCCM": ("399101009", "R-1024B", "cranio-caudal exaggerated medially"),
    "FB": ("399196006", "R-10244", "caudo-cranial (from below)"),
    "SIO": ("399188001", "R-102D0", "superolateral to inferomedial oblique"),
    "ISO": ("441555000", "R-40AAA", "inferomedial to superolateral oblique"),
}
_DOWN = {"CC": {"L": "R", "R": "L"}, "FB": {"L": "R", "R": "L"}}


def mammogram(style="modern", laterality="L", view="MLO", pixels=None, seed=0, **attributes):
    """Return a mammogram in a style; the same arguments give the same UIDs. ``attributes`` are set last."""
    with config.disable_value_validation():  # some styles break rules
        return _mammogram(style, laterality, view, pixels, seed, attributes)


def _mammogram(style, laterality, view, pixels, seed, attributes):
    words = ["mammofast tests", style, str(seed)]
    pixels = _pixels(laterality, seed) if pixels is None else pixels
    ds = _modern(words, laterality, view)
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    STYLES[style](ds)
    for keyword, value in attributes.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    return ds


def _pixels(laterality, seed, rows=96, cols=80):
    """Tissue at the chest wall's side, air at the other, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols]
    tissue = (x / (0.7 * cols)) ** 2 + ((y - rows / 2) / (0.45 * rows)) ** 2 < 1
    values = np.where(tissue, 2000 + rng.integers(0, 1000, (rows, cols)), 0)
    values[rows // 2, 0] = 4095
    return values if laterality == "L" else np.ascontiguousarray(values[:, ::-1])


def _modern(words, laterality, view):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[*words, laterality, view])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=[*words, "series", laterality, view])
    ds.StudyInstanceUID = generate_uid(entropy_srcs=[*words, "study"])
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260301"
    ds.StudyTime, ds.SeriesTime, ds.AcquisitionTime, ds.ContentTime = "101500", "101500.1", "101612.25", "101613"
    ds.AccessionNumber, ds.StudyID, ds.StudyDescription = "A-4711", "S1", "Screening"
    ds.Modality, ds.PresentationIntentType = "MG", "FOR PRESENTATION"
    ds.Manufacturer, ds.ManufacturerModelName = "Maker", "Model"
    ds.InstitutionName = "Hospital"
    ds.ReferringPhysicianName = "Référent^Zoë"
    ds.PatientName, ds.PatientID = "Müller-Søgård^Ängela", "PID 0815"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19600229", "F", "066Y"
    ds.PatientComments = "SECRET COMMENT"
    ds.BodyPartExamined, ds.OrganExposed = "BREAST", "BREAST"
    ds.SeriesNumber, ds.InstanceNumber = "4", "2"
    ds.ImagerPixelSpacing, ds.PixelSpacing = [0.07, 0.07], [0.065, 0.065]
    ds.EstimatedRadiographicMagnificationFactor = "1.077"
    ds.PixelSpacingCalibrationType = "GEOMETRY"
    ds.PixelSpacingCalibrationDescription = "at the breast"
    ds.PatientOrientation = [{"L": "A", "R": "P"}[laterality], _DOWN.get(view, {"L": "FR", "R": "FL"})[laterality]]
    ds.ImageLaterality, ds.ViewPosition = laterality, view
    ds.AnatomicRegionSequence = Sequence([_code("76752008", "SCT", "Breast")])
    ds.ViewCodeSequence = Sequence([_code(VIEWS[view][0], "SCT", VIEWS[view][2])])
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.PresentationLUTShape = "IDENTITY"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.WindowCenter, ds.WindowWidth = ["2000", "2200.5"], ["3000", "1500"]
    ds.WindowCenterWidthExplanation, ds.VOILUTFunction = ["NORMAL", "HARDER"], "SIGMOID"
    return ds


def _as_it_is(ds):
    pass


def _older_codes_and_a_table(ds):
    """SRT codes, MONOCHROME1, a VOI LUT Sequence and no window, private tags."""
    ds.AnatomicRegionSequence = Sequence([_code("T-04000", "SRT", "Breast")])
    ds.ViewCodeSequence = Sequence([_code(VIEWS[ds.ViewPosition][1], "SRT", VIEWS[ds.ViewPosition][2])])
    ds.PhotometricInterpretation, ds.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"):
        del ds[keyword]
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table["LUTDescriptor"].VR = "US"
    table.LUTExplanation = "NORMAL"
    table.LUTData = np.round(4095 * np.linspace(0, 1, 4096) ** 1.5).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    ds.VOILUTSequence = Sequence([table])
    block = ds.private_block(0x0045, "MAKER 01", create=True)
    block.add_new(0x06, "LO", "SECRET PRIVATE")
    block.add_new(0x1B, "UN", b"\0\1\2\3")


def _plain_tags(ds):
    """No code sequences; spacing at the detector only; view and side in one attribute."""
    for keyword in (
        "AnatomicRegionSequence",
        "ViewCodeSequence",
        "PixelSpacing",
        "PixelSpacingCalibrationType",
        "PixelSpacingCalibrationDescription",
        "EstimatedRadiographicMagnificationFactor",
        "VOILUTFunction",
        "SpecificCharacterSet",
    ):
        del ds[keyword]
    ds.ViewPosition = ds.ImageLaterality + ds.ViewPosition
    del ds.ImageLaterality
    ds.PatientName, ds.ReferringPhysicianName = "DOE^JANE", ""


def _empty(ds):
    """What may be empty is empty, what may be missing is missing."""
    for keyword in (
        *("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName", "Manufacturer"),
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientOrientation", "InstanceNumber"),
        *("SeriesNumber", "ContentDate", "ContentTime", "ViewPosition"),
    ):
        setattr(ds, keyword, "")
    for keyword in (
        *("SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "SpecificCharacterSet", "BodyPartExamined"),
        *("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "StudyDescription"),
        *("PixelSpacing", "ImagerPixelSpacing", "PresentationLUTShape", "BurnedInAnnotation", "PatientAge"),
        *("RescaleIntercept", "RescaleSlope", "RescaleType", "LossyImageCompression", "ImageType"),
    ):
        del ds[keyword]


def _unicode(ds):
    """UTF-8, a name in three scripts, de-identified before, a time zone, no spaces at all in the codes."""
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = "Yamada^Hanako=山田^花子=やまだ^はなこ"
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "Trial 7"
    ds.TimezoneOffsetFromUTC = "+0900"
    ds.StudyDescription = "乳房撮影"
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", str(ds.SOPInstanceUID)])
    ds.PositionReferenceIndicator = ""
    ds.VOILUTFunction = "LINEAR_EXACT"


def _for_processing(ds):
    """What a CAD is sent: no grey-scale pipeline at all, 14 bits, pixels that are not square."""
    ds.SOPClassUID, ds.PresentationIntentType = "1.2.840.10008.5.1.4.1.1.1.2.1", "FOR PROCESSING"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PhotometricInterpretation, ds.BitsStored, ds.HighBit = "MONOCHROME1", 14, 13
    ds.ImagerPixelSpacing = [0.05, 0.1]
    for keyword in (
        *("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "PresentationLUTShape"),
        *("PixelSpacing", "PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription"),
    ):
        del ds[keyword]


def _computed_radiography(ds):
    """Digitised film or plates: the CR class, the side at series level, spacing of the image only."""
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    ds.Laterality = ds.ImageLaterality
    for keyword in (
        *("ImageLaterality", "ViewCodeSequence", "AnatomicRegionSequence", "PresentationIntentType"),
        *("ImagerPixelSpacing", "VOILUTFunction", "PresentationLUTShape", "OrganExposed"),
    ):
        del ds[keyword]
    ds.SpecificCharacterSet = ["ISO 2022 IR 6", "ISO 2022 IR 100"]


def _careless(ds):
    """Padding, illegal codes and dates in attributes that are copied; a name that breaks VR PN's rules of length."""
    ds.PatientSex, ds.PatientBirthDate = "W", "1960.02"
    ds.StudyTime, ds.AcquisitionTime = "10:15:00", "25"
    ds.StudyID = "a study's number of 17 and more"
    ds.StudyDescription = "x" * 80
    ds.AccessionNumber = "  4711  "
    ds.PatientOrientation = ["X", "Y"]
    ds.ImagerPixelSpacing = [0.07, 0]
    ds.BurnedInAnnotation = "maybe"


STYLES = {
    "modern": _as_it_is,
    "older codes": _older_codes_and_a_table,
    "plain tags": _plain_tags,
    "empty": _empty,
    "unicode": _unicode,
    "for processing": _for_processing,
    "computed radiography": _computed_radiography,
    "careless": _careless,
}


def _code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
