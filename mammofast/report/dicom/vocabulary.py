"""What results are called in codes (PS3.16)."""

from collections.abc import Mapping
from types import MappingProxyType

from highdicom import AlgorithmIdentificationSequence
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mammofast.report.dicom.context import MANUFACTURER
from mammofast.report.dicom.study import Algorithm

MASS = Code("4147007", "SCT", "Mass")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMICAL = Code("123037004", "SCT", "Anatomical Structure")
BREAST = Code("76752008", "SCT", "Breast")
# CID 244 Laterality.
SIDES: Mapping[str | None, Code] = MappingProxyType(
    {"L": Code("7771000", "SCT", "Left"), "R": Code("24028007", "SCT", "Right")}
)


def code_item(code: Code) -> Dataset:
    """Return a code as an item of a code sequence (PS3.3 8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def algorithm_identification(algorithm: Algorithm) -> AlgorithmIdentificationSequence:
    """Return Algorithm Identification (PS3.3 10.16); its parameters say what must be said with the results."""
    return AlgorithmIdentificationSequence(
        name=algorithm.name[:64] or MANUFACTURER,
        family=codes.DCM.ArtificialIntelligence,
        version=algorithm.version,
        source=MANUFACTURER,
        parameters={"notice": algorithm.notice} if algorithm.notice else None,
    )
