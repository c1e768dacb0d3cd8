"""A sample's image as methods see it: what is trained and measured on is read as what is screened."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset as DicomDataset

from mammofast.archive.grey import grey_table
from mammofast.archive.mammogram import frame_format, pixel_spacing
from mammofast.archive.reading import read_dicom, read_pixels
from mammofast.datasets.dce_mri import VolumeSample
from mammofast.datasets.record import Sample
from mammofast.errors import DatasetError
from mammofast.methods.arrays import ArrayImage, array_image
from mammofast.records import GreyPipeline, GreyTable, ImageSource

_DICOM = {".dcm", ".dicom"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomImage(ArrayImage):
    """A DICOM object's stored values, as an archive holds them, and what they show."""

    header: DicomDataset

    def grey_table(self, pipeline: GreyPipeline) -> GreyTable:
        """Return the pipeline, as the header describes it, as a table over stored values."""
        return grey_table(self.header, pipeline)


def source_of(sample: Sample) -> ImageSource:
    """Read a sample's image. One that is no DICOM object holds presentation values: brighter is denser.

    Raises
    ------
    DatasetError
        When it cannot be read, or has colours.
    ImageError
        When a DICOM object is damaged, or of a kind that no archive takes.

    """
    if sample.image.suffix.lower() in _DICOM:
        try:
            with sample.image.open("rb") as file:
                dataset = read_dicom(file)
        except OSError as error:
            raise DatasetError(f"the image cannot be read ({error.strerror})", sample.name) from error
        return DicomImage(
            read_pixels(dataset, frame_format(dataset)), pixel_spacing=pixel_spacing(dataset)[0], header=dataset
        )
    if isinstance(sample, VolumeSample):
        raise DatasetError("got a volume, expected an image: give a data set of mammograms", sample.name)
    pixels = sample.read()
    if pixels.ndim != 2:
        raise DatasetError("got an image with colours, expected shades of grey, as mammograms are", sample.name)
    return array_image(pixels)


def colours_of(sample: Sample) -> npt.NDArray[Any]:
    """Return an image with colours, (rows, cols, 3), as street scenes have them.

    Raises
    ------
    DatasetError
        When it cannot be read, or has none.

    """
    pixels = sample.read()
    if pixels.ndim != 3:
        raise DatasetError("got shades of grey, expected colours: this is learned from street scenes", sample.name)
    return np.ascontiguousarray(pixels)
