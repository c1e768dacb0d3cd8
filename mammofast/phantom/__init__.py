"""Computed mammograms with known masses, for trying, testing and training. Not a model of any patient."""

from mammofast.phantom.studies import make_image, write_studies

__all__ = ["make_image", "write_studies"]
