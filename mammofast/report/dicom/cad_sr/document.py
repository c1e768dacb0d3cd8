"""One study's Mammography CAD SR: the modules of its IOD (PS3.3 A.35.5) around the tree of templates."""

from pydicom import Dataset
from pydicom.uid import MammographyCADSRStorage

from mammofast.report.dicom.cad_sr.outcome import outcome_of
from mammofast.report.dicom.cad_sr.templates import document_root
from mammofast.report.dicom.context import put_context
from mammofast.report.dicom.identity import study_object_uid
from mammofast.report.dicom.references import Reference, evidence
from mammofast.report.dicom.study import StudyResults

KIND = "cad-sr"


def cad_sr(study: StudyResults) -> Dataset:
    """Return a study's report, complete and ready to be written; the same study gives the same bytes."""
    report = document_root(study)
    document = Dataset()
    document.update({element.tag: element for element in report})  # SR Document Content (C.17.3)
    document.SOPClassUID = MammographyCADSRStorage
    # SR Document Series (C.17.1)
    document.Modality = "SR"
    document.SeriesDate = document.SeriesTime = ""
    document.ReferencedPerformedProcedureStepSequence = []
    # SR Document General (C.17.2)
    document.CompletionFlag = "COMPLETE" if outcome_of(study).complete else "PARTIAL"
    document.VerificationFlag = "UNVERIFIED"
    document.ContentDate = document.ContentTime = ""
    document.PerformedProcedureCodeSequence = []
    document.CurrentRequestedProcedureEvidenceSequence = evidence(
        study.study_uid, map(Reference.to_image, study.images)
    )
    document.InstanceCreationDate = document.InstanceCreationTime = ""
    put_context(document, study, KIND, study_object_uid(study, KIND), images=study.images)
    return document
