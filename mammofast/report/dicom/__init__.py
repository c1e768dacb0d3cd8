"""Results as DICOM objects: what a PACS keeps beside the images."""
