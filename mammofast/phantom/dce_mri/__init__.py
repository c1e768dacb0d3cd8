"""Computed breast DCE-MRI with known masses and a known breast region. Not a model of any patient."""

from mammofast.phantom.dce_mri.case import Case
from mammofast.phantom.dce_mri.studies import make_case, write_studies

__all__ = ["Case", "make_case", "write_studies"]
