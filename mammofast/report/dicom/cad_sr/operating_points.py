"""CAD operating points: how many marks a workstation shows at first, and how many when it is asked for more.

A bundle may name confidences, falling (``operating_points`` of its manifest). Findings that reach the first are to be
shown always, at operating point 0; those that reach the next, at point 1; and so on. The last point shows everything
that the bundle finds. A bundle that names none has that one point, 0 (PS3.17 E.4).
"""

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mammofast.records import Finding
from mammofast.report.dicom.cad_sr import content
from mammofast.report.dicom.cad_sr.content import HAS_PROPERTIES
from mammofast.report.dicom.study import Algorithm

ARBITRARY = Code("[arb'U]", "UCUM", "arbitrary unit")
# The template's own terms: what n is, row 1 says. PixelMed's validator knows no number in its place.
ZERO_TO_N, ONE_TO_N = Code("{0:n}", "UCUM", "range: 0:n"), Code("{1:n}", "UCUM", "range: 1:n")


def operating_point(algorithm: Algorithm, finding: Finding) -> int:
    """Return from which operating point on a finding is shown."""
    return sum(finding.confidence < least for least in algorithm.operating_points)


def operating_points(algorithm: Algorithm) -> Iterator[Dataset]:
    """TID 4023 CAD Operating Points.

    Without the table of rows 3 to 9, which is a CONTAINER: PS3.3 A.35.5.3.1.3 allows no CODE to have one as a property.
    """
    last = len(algorithm.operating_points)
    yield content.num(HAS_PROPERTIES, codes.DCM.MaximumCADOperatingPoint, last, ARBITRARY)  # TID 4023 row 1
    yield content.num(HAS_PROPERTIES, codes.DCM.RecommendedCADOperatingPoint, 0, ZERO_TO_N)  # TID 4023 row 2
