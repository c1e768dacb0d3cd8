"""DIMSE: objects sent and received by C-STORE."""

from mammofast.pacs import need

need("pynetdicom")
