"""Real DICOM objects of any transfer syntax, for every test that needs one: the fixture ``dicom``.

And ``elsewhere``, for tests that start a Python of their own.
"""

import io
import itertools
import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.filewriter import dcmwrite
from pydicom.pixels import get_encoder
from pydicom.sequence import Sequence

import mammofast

FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"

LOSSLESS = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "big endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG lossless": "1.2.840.10008.1.2.4.57",
    "JPEG lossless SV1": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
    "HTJ2K lossless": "1.2.840.10008.1.2.4.201",
    "HTJ2K RPCL lossless": "1.2.840.10008.1.2.4.202",
}
LOSSY = {
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG extended": "1.2.840.10008.1.2.4.51",
    "JPEG-LS near": "1.2.840.10008.1.2.4.81",
    "JPEG 2000": "1.2.840.10008.1.2.4.91",
    "HTJ2K": "1.2.840.10008.1.2.4.203",
}
NATIVE = {LOSSLESS[name] for name in ("implicit", "explicit", "big endian", "deflated")}


class Dicom:
    """Writes mammography objects that have everything triage asks for; keywords change or (None) remove attributes."""

    lossless = LOSSLESS
    lossy = LOSSY
    native = NATIVE
    for_presentation = FOR_PRESENTATION
    for_processing = FOR_PROCESSING
    computed_radiography = COMPUTED_RADIOGRAPHY
    tomosynthesis = TOMOSYNTHESIS

    def __init__(self):
        self._numbers = itertools.count(1)

    def pixels(self, rows=96, cols=80, bits=12, signed=False, seed=0):
        """Half an ellipse of noisy tissue beside background, using both ends of the range."""
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:rows, :cols]
        inside = (x / (0.7 * cols)) ** 2 + ((y - rows / 2) / (0.45 * rows)) ** 2 < 1
        top = (1 << bits) - 1
        tissue = top * (0.5 + 0.3 * np.sin(x / 9) * np.cos(y / 7)) + rng.normal(0, top / 60, (rows, cols))
        values = np.where(inside, tissue, 0).clip(0, top).astype(np.int64)
        values[rows // 2, :2] = (top, top - 1)
        values -= (1 << (bits - 1)) if signed else 0
        return values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")

    def uid(self):
        return f"1.2.826.0.1.3680043.8.498.{next(self._numbers)}"

    def dataset(self, pixels=None, syntax=LOSSLESS["explicit"], bits_stored=12, frame=None, predictor=1, **attributes):
        """Return a data set of pixels in a transfer syntax; ``frame`` takes the place of the encoded pixels."""
        pixels = self.pixels() if pixels is None else pixels
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
        ds.SOPClassUID = FOR_PRESENTATION
        ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID = self.uid(), self.uid(), self.uid()
        ds.Modality, ds.PresentationIntentType = "MG", "FOR PRESENTATION"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "SECRET^NAME", "SECRETID", "19550505"
        ds.ImageLaterality, ds.ViewPosition = "L", "MLO"
        ds.ImagerPixelSpacing = [0.07, 0.08]
        ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = 8 * pixels.dtype.itemsize
        ds.BitsStored = min(bits_stored, ds.BitsAllocated)
        ds.HighBit = ds.BitsStored - 1
        ds.PixelRepresentation = int(pixels.dtype.kind == "i")
        self._set_pixels(ds, pixels, frame, predictor)
        for keyword, value in attributes.items():
            if value is None:
                del ds[keyword]
            else:
                setattr(ds, keyword, value)
        ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", FOR_PRESENTATION)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID") or "1.2.3"
        return ds

    def _set_pixels(self, ds, pixels, frame, predictor):
        syntax = str(ds.file_meta.TransferSyntaxUID)
        if syntax in NATIVE:
            order = ">" if syntax == LOSSLESS["big endian"] else "<"
            data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes() if frame is None else frame
            ds.PixelData = data + b"\0" * (len(data) % 2)
            ds["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 or syntax == LOSSLESS["implicit"] else "OB"
            return
        frame = self.encode(pixels, syntax, ds.BitsStored, predictor) if frame is None else frame
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True

    def encode(self, pixels, syntax, bits, predictor=1):
        """Encode one frame, by other software than the archive's decoders where there is any."""
        name = next(name for name, uid in {**LOSSLESS, **LOSSY}.items() if uid == syntax)
        # Codecs without a notion of sign get the low bits.
        unsigned = (pixels.astype(np.int64) & ((1 << bits) - 1)).astype(f"u{pixels.dtype.itemsize}")
        if name in ("JPEG lossless", "JPEG lossless SV1"):
            return imagecodecs.jpeg8_encode(unsigned, lossless=True, predictor=predictor, bitspersample=bits)
        if name in ("JPEG baseline", "JPEG extended"):
            return imagecodecs.jpeg8_encode(unsigned, level=95, bitspersample=bits)
        if name.startswith("HTJ2K"):
            # Whoever writes 12 bits in a 16-bit codestream breaks no rule; PS3.5 8.2.17 leaves precision open.
            return imagecodecs.htj2k_encode(
                pixels, reversible="lossless" in name, level=None if "less" in name else 0.001
            )
        options = {
            "rows": pixels.shape[0],
            "columns": pixels.shape[1],
            "samples_per_pixel": 1,
            "number_of_frames": 1,
            "bits_allocated": 8 * pixels.dtype.itemsize,
            "bits_stored": bits,
            "pixel_representation": int(pixels.dtype.kind == "i"),
            "photometric_interpretation": "MONOCHROME2",
        }
        if name == "JPEG-LS near":
            options["jls_error"] = 2
        if name == "JPEG 2000":
            options["j2k_psnr"] = [60]
        return get_encoder(syntax).encode(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes(), **options)

    def extended_offsets(self, ds, frame):
        """Give a data set an extended offset table."""
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended([frame])
        ds["PixelData"].is_undefined_length = True
        return ds

    def fragmented(self, ds, frame, fragments, offsets=True):
        """Split the frame over several fragments."""
        ds.PixelData = encapsulate([frame], fragments_per_frame=fragments, has_bot=offsets)
        ds["PixelData"].is_undefined_length = True
        return ds

    def bytes(self, ds):
        buffer = io.BytesIO()
        dcmwrite(buffer, ds, enforce_file_format=True)
        return buffer.getvalue()

    def write(self, path, pixels=None, **options):
        """Write an object to a file and return its data set."""
        ds = self.dataset(pixels, **options)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.bytes(ds))
        return ds

    def code(self, value, scheme="SCT", meaning="a meaning"):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return item

    def dicomdir(self, path, entries):
        """Write an index of (data set, path parts) entries."""
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = LOSSLESS["explicit"]
        ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
        ds.file_meta.MediaStorageSOPInstanceUID = self.uid()
        records = []
        for image, parts in entries:
            study, series, leaf = Dataset(), Dataset(), Dataset()
            study.DirectoryRecordType, study.StudyInstanceUID = "STUDY", image.StudyInstanceUID
            series.DirectoryRecordType, series.SeriesInstanceUID = "SERIES", image.SeriesInstanceUID
            leaf.DirectoryRecordType = "IMAGE"
            leaf.ReferencedFileID = list(parts)
            leaf.ReferencedSOPInstanceUIDInFile = image.SOPInstanceUID
            records += [study, series, leaf]
        ds.DirectoryRecordSequence = Sequence(records)
        Path(path).write_bytes(self.bytes(ds))


@pytest.fixture(scope="session")
def dicom():
    return Dicom()


@pytest.fixture
def elsewhere(tmp_path):
    """Options of subprocess: the mammofast that the tests import, not the source tree that they may be started in.

    ``python -c`` and ``python -m`` look into the current folder first, and a source tree need have no extension.
    """
    path = [str(Path(mammofast.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    return {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}}
