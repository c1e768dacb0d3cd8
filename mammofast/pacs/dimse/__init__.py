"""DIMSE: objects sent and received by C-STORE."""
