"""Whether a picture may show who the patient is."""

from pydicom import Dataset

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def may_show_a_name(dataset: Dataset) -> bool:
    """Say whether an object has pixels other than a mask's, and Burned In Annotation is not NO."""
    if "PixelData" not in dataset or dataset.get("SOPClassUID") in _SEGMENTATIONS:
        return False
    return str(dataset.get("BurnedInAnnotation", "")).strip() != "NO"
