"""Results as DICOM objects: what a PACS keeps beside the images. Needs the extra ``[dicom]``."""

from importlib.util import find_spec

if find_spec("highdicom") is None:
    raise ImportError('highdicom is not installed, and DICOM objects need it: pip install "mammofast[dicom]"')
