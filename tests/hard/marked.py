"""DICOM objects full of marked identifiers, and a search for the marks in whatever came of them."""

import io
import itertools
import json
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
from pyarrow import parquet
from pydicom import DataElement, Dataset, config
from pydicom._dicom_dict import DicomDictionary
from pydicom.charset import convert_encodings
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"
# A mark nothing else looks like; dates and numbers of which nothing else is made.
_MARK = "ZQXJMARK"
_DATE, _TIME, _NUMBER, _AGE = "19310217", "070913.731942", "61.7319426", "077Y"
# What names look like in their character sets, one of each: no mark, yet found.
NAMES = {
    "ISO_IR 100": "Zoë-Ångström",
    "ISO_IR 144": "Жанна^Лопухина",
    "ISO_IR 126": "Αφροδίτη",
    "ISO_IR 192": "Ďurišová^Łucja",
    "GB18030": "歐陽小東明華",
    "ISO 2022 IR 87": "山田太郎花子",
}
# What reading goes by, or would fail for; each is marked in an object of its own.
_READ = {
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "PresentationIntentType", "PartialView",
    "BreastImplantPresent", "ViewPosition", "ImageLaterality", "Laterality", "FrameLaterality", "BurnedInAnnotation",
    "PhotometricInterpretation", "VOILUTFunction", "PresentationLUTShape", "NumberOfFrames", "ImagerPixelSpacing",
    "PixelSpacing", "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept",
    "EstimatedRadiographicMagnificationFactor", "ViewCodeSequence", "ViewModifierCodeSequence",
    "AnatomicRegionSequence", "AnatomicRegionModifierSequence", "VOILUTSequence", "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "BodyPartExamined",
}  # fmt: skip
_TEXT = {"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"}
# Attributes that triage, grey scale or codecs read.
WRONG = [
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "SpecificCharacterSet", "ImageType",
    "Modality", "PresentationIntentType", "PartialView", "BreastImplantPresent", "ViewPosition", "ImageLaterality",
    "Laterality", "PhotometricInterpretation", "VOILUTFunction", "PresentationLUTShape", "NumberOfFrames",
    "ImagerPixelSpacing", "WindowCenter", "WindowWidth", "RescaleSlope", "EstimatedRadiographicMagnificationFactor",
    "TransferSyntaxUID",
]  # fmt: skip


class Marked:
    """Makes marked objects; every one has marks of its own."""

    def __init__(self):
        self._numbers = itertools.count(1)
        self._patients = {}  # by study

    def mark(self):
        return f"{_MARK}{next(self._numbers):05d}"

    def dataset(self, pixels, study, sop_uid, charset="ISO_IR 192", syntax=EXPLICIT):
        """A mammogram that has every attribute of DICOM's dictionary that can hold words, dates or ages."""
        ds = Dataset()
        name = f"{NAMES[charset]}^{self.mark()}"
        ds.SpecificCharacterSet = charset if charset != "ISO 2022 IR 87" else ["", charset]
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
            if keyword and keyword not in _READ and tag >> 16 not in (0x0000, 0x0002, 0x0004, 0x5400, 0x7FE0, 0xFFFA):
                self._add(ds, tag, vr, name)
        ds.PatientName, ds.PatientWeight = name, _NUMBER
        ds.PatientID = self._patients.setdefault(study, self.mark())
        inner = Dataset()
        inner.PatientName, inner.PatientID, inner.PatientBirthDate = name, self.mark(), _DATE
        inner.RequestAttributesSequence = Sequence([self._item(name)])
        ds.RequestAttributesSequence = Sequence([inner, self._item(name)])
        for group in (0x0009, 0x0045, 0x7E01):
            block = ds.private_block(group, f"MAKER {self.mark()}"[:60], create=True)
            block.add_new(0x01, "LO", self.mark())
            block.add_new(0x02, "UN", self.mark().encode())
            block.add_new(0x03, "SQ", Sequence([self._item(name)]))
        ds.SOPClassUID, ds.SOPInstanceUID = MAMMOGRAPHY, sop_uid
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.9"
        ds.Modality, ds.PresentationIntentType, ds.BurnedInAnnotation = "MG", "FOR PRESENTATION", "NO"
        ds.ImageType, ds.ImageLaterality, ds.ViewPosition = ["DERIVED", "PRIMARY"], "L", "CC"
        view = self._item(name)
        view.CodeValue, view.CodingSchemeDesignator = "399162004", "SCT"
        ds.ViewCodeSequence = Sequence([view])
        ds.ImagerPixelSpacing = [0.1, 0.2]
        ds.WindowCenter, ds.WindowWidth, ds.WindowCenterWidthExplanation = 2000, 4000, self.mark()
        ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = pixels.astype(">u2" if syntax == BIG else "<u2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = MAMMOGRAPHY, sop_uid
        ds.file_meta.SourceApplicationEntityTitle = self.mark()
        ds.preamble = self.mark().encode().ljust(128, b"!")
        return ds

    def _add(self, ds, tag, vr, name):
        if vr in _TEXT:
            ds.add(DataElement(tag, vr, self.mark()))
        elif vr == "PN":
            ds.add(DataElement(tag, vr, name))
        elif vr == "UR":
            ds.add(DataElement(tag, vr, f"http://{self.mark()}"))
        elif vr in ("DA", "DT", "TM", "AS"):
            value = {"DA": _DATE, "DT": _DATE + _TIME, "TM": _TIME, "AS": _AGE}[vr]
            ds.add(DataElement(tag, vr, value))
        elif vr in ("OB", "UN") and tag >> 16 not in (0x0028, 0x0066):
            ds.add(DataElement(tag, vr, self.mark().encode() + b"!"))

    def _item(self, name):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = self.mark(), self.mark(), self.mark()
        item.PersonName, item.ScheduledProcedureStepDescription = name, self.mark()
        return item

    def bytes(self, ds, **wrong):
        """An object's bytes, with ``wrong`` values in attributes that other values belong in."""
        buffer = io.BytesIO()
        with config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for keyword, value in wrong.items():
                if keyword != "TransferSyntaxUID":
                    ds.add(DataElement(keyword, "UI" if keyword.endswith("UID") else "CS", value))
            syntax = str(ds.file_meta.TransferSyntaxUID)
            implicit, little = syntax == IMPLICIT, syntax != BIG
            dcmwrite(buffer, ds, implicit_vr=implicit, little_endian=little, force_encoding=True)
        data = buffer.getvalue()
        if "TransferSyntaxUID" in wrong:
            data = data.replace(syntax.encode(), wrong["TransferSyntaxUID"].ljust(len(syntax)).encode(), 1)
        return data


def write_everything(folder, bright_pixels):
    """Write marked objects, good, broken, cut off and of the wrong kind, under marked names; return what was good."""
    marked, number = Marked(), itertools.count(1)
    here = folder / f"{marked.mark()}^DOE" / f"{marked.mark()} 19310217"
    here.mkdir(parents=True)

    def image(**options):
        count = next(number)
        study = f"1.2.{1 + count // 4}"
        return marked.dataset(bright_pixels(count % 3)[0], study, f"{study}.{count}", **options)

    def put(data):
        path = here / f"{marked.mark()}^JANE_{_DATE}.dcm"
        path.write_bytes(data)
        return path

    sound = [image(charset=charset) for charset in NAMES]
    sound += [image(syntax=IMPLICIT), image(syntax=BIG)]
    contents = [marked.bytes(ds) for ds in sound]
    for data in contents:
        put(data)
    whole = contents[0]
    for part in (0.001, 0.2, 0.5, 0.97, 0.9999):
        put(whole[: int(len(whole) * part)])
    for keyword, syntax in zip(WRONG, itertools.cycle((EXPLICIT, IMPLICIT)), strict=False):
        # Valid in no VR that these have, so that pydicom complains; of implicit VR it knows its dictionary's.
        put(marked.bytes(image(syntax=syntax), **{keyword: f"{_MARK}^a"}))
    # Longer than a number may be: read all the same, and complained of.
    put(marked.bytes(image(syntax=IMPLICIT), RescaleIntercept="77.00000000000000001"))
    for sop_class in ("1.2.840.10008.5.1.4.1.1.13.1.3", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.50"):
        ds = image()
        ds.SOPClassUID = sop_class
        put(marked.bytes(ds))
    put(marked.bytes(marked.dataset(np.zeros((40, 40)), "1.2.77", "1.2.77.1")))  # constant pixels
    conflict = marked.dataset(bright_pixels(2)[0], sound[0].StudyInstanceUID, sound[0].SOPInstanceUID)
    put(marked.bytes(conflict))
    put(f"{marked.mark()} is no DICOM object".encode())
    with zipfile.ZipFile(here / f"{marked.mark()}.zip", "w") as packed:
        packed.writestr(f"{marked.mark()}/{_DATE}.dcm", marked.bytes(image()))
        packed.writestr(f"{marked.mark()}/cut.dcm", whole[:5000])
    (here / f"{marked.mark()}-2.zip").write_bytes(b"PK\3\4" + marked.mark().encode())
    (here / "DICOMDIR").write_bytes(_dicomdir(marked))
    (here / f"{marked.mark()}.lnk").symlink_to(folder / marked.mark())
    return len(sound) + 1


def _dicomdir(marked):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = EXPLICIT
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.10"
    patient, leaf = Dataset(), Dataset()
    patient.DirectoryRecordType, patient.PatientName, patient.PatientID = "PATIENT", marked.mark(), marked.mark()
    leaf.DirectoryRecordType, leaf.ReferencedFileID = "IMAGE", [marked.mark(), marked.mark()]
    leaf.ReferencedSOPInstanceUIDInFile = "1.2.3.11"
    ds.DirectoryRecordSequence = Sequence([patient, leaf])
    ds.FileSetID = marked.mark()
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _patterns():
    texts = {_MARK, _DATE, "1931-02-17", "17.02.1931", _TIME, _NUMBER, _AGE}
    for charset, name in NAMES.items():
        for part in name.split("^"):
            texts |= {
                part,
                ascii(part)[1:-1],
                json.dumps(part)[1:-1],
                part.encode("ascii", "xmlcharrefreplace").decode(),
            }
            texts.add(repr(part.encode("utf-8"))[2:-1])
            yield part.encode(convert_encodings(charset)[0])
    for text in texts:
        yield from (text.encode(), text.encode("utf-16-le"), text.encode("utf-16-be"))


def _any_of(patterns):
    return re.compile(b"|".join(sorted(map(re.escape, patterns), key=len, reverse=True)), re.IGNORECASE)


_SOUGHT = set(_patterns())
_IN_TEXT = _any_of(_SOUGHT)
_IN_BYTES = _any_of(pattern for pattern in _SOUGHT if len(pattern) >= 8)  # compressed pixels hold any four bytes
# Pictures: what a few MB of them spell is chance.
_DATA_URL = re.compile(rb"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")


def leaks(data):
    """Return what of the marks is in some bytes or text, each with what stands around it."""
    data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    data = _DATA_URL.sub(b"", data)
    try:
        data.decode()
        sought = _IN_TEXT
    except UnicodeDecodeError:
        sought = _IN_BYTES
    return [data[max(found.start() - 60, 0) : found.end() + 20] for found in sought.finditer(data)]


def leaks_in(folder):
    """Return every file or folder that has a mark in its name or content, with the first; of DICOM files the name."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if here := leaks(name):
            found[name] = here[0]
        elif path.is_file() and path.suffix != ".dcm":
            content = str(parquet.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_bytes()
            if here := leaks(content):
                found[name] = here[0]
    return found
