"""The Mammography CAD SR: what workstations show as CAD marks (PS3.3 A.35.5, PS3.16 TID 4000)."""

from mammofast.report.dicom.cad_sr.document import KIND, cad_sr

__all__ = ["KIND", "cad_sr"]
