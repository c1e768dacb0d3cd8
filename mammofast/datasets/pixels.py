"""Reading one image file of a data set."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread

from mammofast.archive.mammogram import frame_format
from mammofast.archive.reading import read_dicom
from mammofast.archive.reading import read_pixels as decode_pixels
from mammofast.errors import DatasetError, ImageError

_DICOM = {".dcm", ".dicom"}


def read_pixels(path: Path) -> npt.NDArray[Any]:
    """Return the stored values of a DICOM object, or of a PNG, JPEG or TIFF: (rows, cols) or (rows, cols, 3).

    DICOM objects are decoded as an archive decodes them: every transfer syntax that is ingested is read here too.

    Raises
    ------
    DatasetError
        When it cannot be read.

    """
    try:
        if path.suffix.lower() in _DICOM:
            with path.open("rb") as stream:
                header = read_dicom(stream)
            pixels = decode_pixels(header, frame_format(header))
        else:
            import imagecodecs

            pixels = imagecodecs.imread(path)
    except ImageError as error:
        raise DatasetError(str(error), path.name) from error
    except Exception as error:  # whatever a codec makes of a damaged file
        raise DatasetError(
            f"an image or mask cannot be read ({type(error).__name__}), expected DICOM, PNG, JPEG or TIFF", path.name
        ) from error
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., :3]
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] != 3):
        raise DatasetError(f"image: got shape {pixels.shape}, expected (rows, cols) or (rows, cols, 3)", path.name)
    return np.asarray(pixels)


def read_header(path: Path) -> Dataset:
    """Return a DICOM object without its pixels.

    Raises
    ------
    DatasetError
        When it cannot be read.

    """
    try:
        return dcmread(path, stop_before_pixels=True)
    except Exception as error:  # pydicom fails in many ways
        raise DatasetError(f"a DICOM object cannot be read ({type(error).__name__})", path.name) from error


def read_labels(path: Path) -> npt.NDArray[np.uint8]:
    """Return an 8-bit picture of classes, (rows, cols).

    Raises
    ------
    DatasetError
        When it cannot be read or is no such picture.

    """
    labels = read_pixels(path)
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DatasetError(
            f"picture of labels: got {labels.dtype} of shape {labels.shape}, expected uint8 (rows, cols)", path.name
        )
    return labels
