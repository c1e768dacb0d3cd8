"""To and from a PACS: DICOMweb (PS3.18) and DIMSE (PS3.4, PS3.7). Needs the extra ``[pacs]``.

dicomweb/   QIDO-RS and WADO-RS as a source of ingest, STOW-RS to send results
dimse/      C-STORE: a Storage SCU to send results, a Storage SCP that receives images
"""
