"""Every transfer syntax read back by other libraries."""

import io

import gdcm  # noqa: F401 - pydicom reads through it
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.uid import HTJ2KLossless, RLELossless

from mammofast.phantom.encode import SYNTAXES, pixel_data


@pytest.mark.parametrize("bits", [12, 13, 14])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.uid.name)
def test_pixels_come_back(syntax, bits):
    rng = np.random.default_rng(bits)
    pixels = np.clip(np.cumsum(rng.integers(-9, 10, (61, 47)), axis=1) + 2 ** (bits - 1), 0, 2**bits - 1)
    pixels[:20] = 0
    pixels[-1, -1] = 2**bits - 1
    pixels = pixels.astype(np.uint16)
    data = pixel_data(syntax, pixels, bits)
    if syntax.uid == HTJ2KLossless:
        imagecodecs = pytest.importorskip("imagecodecs")
        frame = next(generate_frames(data, number_of_frames=1))
        # Another library than the encoder's: OpenJPEG.
        np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(frame), pixels)
        return
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax.uid
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.PixelRepresentation = 16, 0
    image.BitsStored = 16 if syntax.whole_words else bits
    image.HighBit = image.BitsStored - 1
    image.PixelData = data
    image["PixelData"].VR = "OW" if syntax.encode is None else "OB"
    buffer = io.BytesIO()
    image.save_as(buffer, implicit_vr=syntax.uid.is_implicit_VR, little_endian=True)
    read = dcmread(io.BytesIO(buffer.getvalue()), force=True)
    read.file_meta = image.file_meta
    plugin = "gdcm" if syntax.encode is not None and syntax.uid != RLELossless else "pydicom" if syntax.encode else ""
    read.pixel_array_options(decoding_plugin=plugin)
    np.testing.assert_array_equal(read.pixel_array, pixels)
