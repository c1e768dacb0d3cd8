"""DCE-MRI phantoms as Enhanced MR Image objects (PS3.3 A.36): all phases of a case in one file."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage

from mammofast.phantom.dce_mri import dicom
from mammofast.phantom.dce_mri.plan import PlannedCase
from mammofast.phantom.dce_mri.volume import Grid
from mammofast.phantom.dicom import code, derived_uid

_STACK = "1"
# In shuffled objects frames lie in an order of their own.
_ORDER = 3


def write_enhanced(folder: Path, planned: PlannedCase, grid: Grid, phases: npt.NDArray[np.uint16]) -> None:
    """Write one file for the case."""
    image = dicom.common(planned, EnhancedMRImageStorage, dicom.sop_uid(planned, 0), 0)
    places = [(phase, z) for phase in range(len(phases)) for z in range(grid.shape[0])]
    if planned.protocol.shuffled:
        places = [places[i] for i in planned.stream(_ORDER).permutation(len(places))]
    image.InstanceNumber = "1"
    image.AcquisitionNumber = "1"
    image.AcquisitionDateTime = dicom.DATE + dicom.clock(0)
    image.AcquisitionDuration = float(planned.protocol.times[-1] + 60)
    _enhanced_image(image)
    _contrast(image)
    _dimensions(image, planned)
    image.NumberOfFrames = str(len(places))
    image.SharedFunctionalGroupsSequence = Sequence([_shared(grid)])
    image.PerFrameFunctionalGroupsSequence = Sequence([_frame(planned, grid, *place) for place in places])
    image.AcquisitionContextSequence = Sequence()
    image.PresentationLUTShape = "IDENTITY"
    dicom.pixel_module(image, np.stack([phases[place] for place in places]), phases.shape)
    dicom.save(image, folder)


def _enhanced_image(image: Dataset) -> None:
    image.ImageType = ["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"]
    _common_description(image)
    image.ContentQualification = "RESEARCH"
    image.ApplicableSafetyStandardAgency = "IEC"
    image.ResonantNucleus, image.KSpaceFiltering = "1H", "NONE"
    image.MagneticFieldStrength = dicom.FIELD_STRENGTH
    image.AcquisitionContrast = "PERFUSION"
    image.PulseSequenceName, image.MRAcquisitionType = "phantom_spgr", "3D"
    image.EchoPulseSequence, image.MultiPlanarExcitation = "GRADIENT", "NO"
    image.PhaseContrast, image.TimeOfFlightContrast = "NO", "NO"
    image.SteadyStatePulseSequence, image.EchoPlanarPulseSequence = "NONE", "NO"
    image.SaturationRecovery, image.SpectrallySelectedSuppression = "NO", "FAT"
    image.OversamplingPhase, image.GeometryOfKSpaceTraversal = "NONE", "RECTILINEAR"
    image.SegmentedKSpaceTraversal, image.RectilinearPhaseEncodeReordering = "SINGLE", "LINEAR"
    image.NumberOfKSpaceTrajectories = 1
    image.CoverageOfKSpace = "FULL"


def _common_description(item: Dataset) -> None:
    item.PixelPresentation = "MONOCHROME"
    item.VolumetricProperties, item.VolumeBasedCalculationTechnique = "VOLUME", "NONE"
    item.ComplexImageComponent, item.AcquisitionContrast = "MAGNITUDE", "PERFUSION"


def _contrast(image: Dataset) -> None:
    agent = code("109219005", dicom.AGENT)
    agent.ContrastBolusAgentNumber = 1
    agent.ContrastBolusAdministrationRouteSequence = Sequence([code("47625008", "Intravenous route")])
    agent.ContrastBolusIngredientCodeSequence = Sequence([code("17129006", "Gadolinium")])
    agent.ContrastBolusVolume = dicom.DOSE_ML
    agent.ContrastBolusIngredientConcentration = 0.5
    image.ContrastBolusAgentSequence = Sequence([agent])


def _dimensions(image: Dataset, planned: PlannedCase) -> None:
    """Stack, place in it and place in time, as PS3.3 C.7.6.17 wants them indexed."""
    uid = derived_uid("dimensions", *planned.of.words(), planned.study)
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    image.DimensionOrganizationSequence = Sequence([organization])
    image.DimensionIndexSequence = Sequence()
    for keyword in ("StackID", "InStackPositionNumber", "TemporalPositionIndex"):
        index = Dataset()
        index.DimensionOrganizationUID = uid
        index.DimensionIndexPointer = tag_for_keyword(keyword)
        index.FunctionalGroupPointer = tag_for_keyword("FrameContentSequence")
        image.DimensionIndexSequence.append(index)


def _shared(grid: Grid) -> Dataset:
    shared = Dataset()
    rows, cols = grid.shape[1:]
    shared.PixelMeasuresSequence = _item(
        PixelSpacing=list(grid.spacing[1:]), SliceThickness=grid.spacing[0], SpacingBetweenSlices=grid.spacing[0]
    )
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=list(dicom.ORIENTATION))
    shared.FrameAnatomySequence = _item(FrameLaterality="B", AnatomicRegionSequence=Sequence([code(*dicom.ANATOMY)]))
    shared.PixelValueTransformationSequence = _item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")
    shared.FrameVOILUTSequence = _item(WindowCenter="600", WindowWidth="1200")
    frame_type = _item(FrameType=["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"])
    _common_description(frame_type[0])
    shared.MRImageFrameTypeSequence = frame_type
    rate = Sequence()
    for kind, mode in (("STATIC FIELD", "IEC_NORMAL"), ("RF", "IEC_NORMAL"), ("GRADIENT", "IEC_NORMAL")):
        rate.append(_item(OperatingModeType=kind, OperatingMode=mode)[0])
    shared.MRTimingAndRelatedParametersSequence = _item(
        RepetitionTime=str(dicom.REPETITION_TIME), FlipAngle=str(dicom.FLIP_ANGLE), EchoTrainLength="1",
        RFEchoTrainLength=0, GradientEchoTrainLength=1, GradientOutputType="DB_DT", GradientOutput=10.0,
        OperatingModeSequence=rate,
        SpecificAbsorptionRateSequence=_item(
            SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=0.5
        ),
    )  # fmt: skip
    shared.MRFOVGeometrySequence = _item(
        InPlanePhaseEncodingDirection="ROW", MRAcquisitionFrequencyEncodingSteps=rows,
        MRAcquisitionPhaseEncodingStepsInPlane=cols, MRAcquisitionPhaseEncodingStepsOutOfPlane=grid.shape[0],
        PercentSampling="100", PercentPhaseFieldOfView="100",
    )  # fmt: skip
    shared.MREchoSequence = _item(EffectiveEchoTime=dicom.ECHO_TIME)
    shared.MRModifierSequence = _item(
        InversionRecovery="NO", FlowCompensation="NONE", Spoiling="RF", T2Preparation="NO",
        SpectrallySelectedExcitation="NONE", SpatialPresaturation="NONE", PartialFourier="NO", ParallelAcquisition="NO",
    )  # fmt: skip
    shared.MRImagingModifierSequence = _item(
        MagnetizationTransfer="NONE", BloodSignalNulling="NO", Tagging="NONE", TransmitterFrequency=127.7,
        PixelBandwidth="400",
    )  # fmt: skip
    shared.MRReceiveCoilSequence = _item(
        ReceiveCoilName="phantom breast", ReceiveCoilManufacturerName="mammofast", ReceiveCoilType="MULTICOIL",
        QuadratureReceiveCoil="YES",
        MultiCoilDefinitionSequence=_item(MultiCoilElementName="1", MultiCoilElementUsed="YES"),
    )  # fmt: skip
    shared.MRTransmitCoilSequence = _item(
        TransmitCoilName="body", TransmitCoilManufacturerName="mammofast", TransmitCoilType="BODY"
    )
    shared.MRAveragesSequence = _item(NumberOfAverages="1")
    shared.ContrastBolusUsageSequence = _item(
        ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered="YES", ContrastBolusAgentDetected="YES"
    )
    return shared


def _frame(planned: PlannedCase, grid: Grid, phase: int, z: int) -> Dataset:
    times = planned.protocol.times
    frame = Dataset()
    begun = dicom.DATE + dicom.clock(times[phase])
    frame.FrameContentSequence = _item(
        FrameAcquisitionNumber=phase + 1, FrameReferenceDateTime=begun, FrameAcquisitionDateTime=begun,
        FrameAcquisitionDuration=1000.0 * (times[2] - times[1]), StackID=_STACK, InStackPositionNumber=z + 1,
        TemporalPositionIndex=phase + 1, DimensionIndexValues=[1, z + 1, phase + 1],
    )  # fmt: skip
    frame.PlanePositionSequence = _item(ImagePositionPatient=dicom.position(grid, z))
    frame.TemporalPositionSequence = _item(TemporalPositionTimeOffset=times[phase])
    return frame


def _item(**attributes: object) -> Sequence:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return Sequence([item])
