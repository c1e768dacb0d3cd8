"""Volumes' results as DICOM objects: segmentations of many frames, and regions of measurement reports."""
