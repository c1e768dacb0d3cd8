"""A sample's image as methods see it: see :mod:`mammofast.datasets.images`."""

from mammofast.datasets.images import DicomImage, colours_of, source_of

__all__ = ["DicomImage", "colours_of", "source_of"]
