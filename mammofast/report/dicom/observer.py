"""Who observed, in a measurement report: the algorithm (PS3.16 TID 1002, TID 4019)."""

from highdicom import sr
from pydicom.sr.codedict import codes

from mammofast.report.dicom.context import MANUFACTURER
from mammofast.report.dicom.identity import derived_uid
from mammofast.report.dicom.study import Algorithm


def observer(algorithm: Algorithm) -> sr.ObserverContext:
    """Return the device that observed."""
    run = algorithm.run
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device", run.bundle_id, run.settings_id),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=algorithm.name[:64] or MANUFACTURER,
            serial_number=run.bundle_id[:16],
        ),
    )


def algorithm_of(algorithm: Algorithm) -> sr.AlgorithmIdentification:
    """Return what measured; its parameters say what must be said with the results."""
    return sr.AlgorithmIdentification(
        name=algorithm.name or MANUFACTURER,
        version=algorithm.version,
        parameters=[algorithm.notice] if algorithm.notice else None,
    )
