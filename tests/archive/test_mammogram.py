import io
from dataclasses import fields

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from mammofast.archive.mammogram import MAX_PIXELS, Stated, known, triage
from mammofast.archive.reading import header_bytes, read_dicom
from mammofast.archive.record import SkippedRecord
from mammofast.archive.views import laterality_of, modifiers_of, view_of
from mammofast.errors import BrokenImage, Reason, UnusableImage

CT, CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"


def view_code(dicom, value, scheme="SCT", modifiers=()):
    item = dicom.code(value, scheme)
    if modifiers:
        item.ViewModifierCodeSequence = Sequence([dicom.code(*modifier) for modifier in modifiers])
    return Sequence([item])


def test_what_triage_reads(dicom):
    ds = dicom.dataset(dicom.pixels(96, 80))
    found = triage(ds)
    assert (found.study_uid, found.series_uid, found.sop_uid) == (
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)  # fmt: skip
    assert (found.laterality, found.view, found.photometric) == ("L", "MLO", "MONOCHROME2")
    assert (found.presentation_intent, found.pixel_spacing) == ("FOR PRESENTATION", (0.07, 0.08))
    frame = found.frame
    assert (frame.rows, frame.cols, frame.bits_allocated, frame.bits_stored, frame.signed) == (96, 80, 16, 12, False)


def test_the_three_classes_that_are_kept(dicom):
    assert triage(dicom.dataset()).presentation_intent == "FOR PRESENTATION"
    processing = dicom.dataset(SOPClassUID=dicom.for_processing, PresentationIntentType=None)
    assert triage(processing).presentation_intent == "FOR PROCESSING"
    radiography = dicom.dataset(SOPClassUID=dicom.computed_radiography, PresentationIntentType=None)
    assert triage(radiography).presentation_intent is None
    assert (
        triage(dicom.dataset(NumberOfFrames="1", PhotometricInterpretation="MONOCHROME1")).photometric == "MONOCHROME1"
    )
    assert triage(dicom.dataset(Modality=None)).view == "MLO"


def test_a_capture_is_a_mammogram_where_a_data_set_states_it(dicom):
    silent = {"ImageLaterality": None, "ViewPosition": None, "PresentationIntentType": None}
    film = dicom.dataset(SOPClassUID=CAPTURE, **silent)
    found = triage(film, stated=Stated("R", "CC"))
    assert (found.laterality, found.view, found.presentation_intent) == ("R", "CC", "FOR PRESENTATION")
    with pytest.raises(UnusableImage, match="is not 2-D mammography"):
        triage(film)
    unknown = triage(dicom.dataset(**silent), stated=Stated("R", None))
    assert (unknown.laterality, unknown.view) == ("R", None)


def test_a_header_counts_before_what_is_stated(dicom):
    found = triage(
        dicom.dataset(SOPClassUID=dicom.for_processing, PresentationIntentType=None), stated=Stated("R", "CC")
    )
    assert (found.laterality, found.view, found.presentation_intent) == ("L", "MLO", "FOR PROCESSING")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"SOPClassUID": CAPTURE, "Modality": "OT"}, Reason.NOT_A_MAMMOGRAM),
        ({"SOPClassUID": CAPTURE, "Modality": None}, Reason.NOT_A_MAMMOGRAM),
        ({"SOPClassUID": CAPTURE, "NumberOfFrames": "2"}, Reason.TOMOSYNTHESIS),
        ({"SOPClassUID": f"{CAPTURE}.2"}, Reason.NOT_A_MAMMOGRAM),
        ({"SOPClassUID": CT, "Modality": "CT"}, Reason.NOT_A_MAMMOGRAM),
        ({"ViewPosition": "MCC"}, Reason.MAGNIFICATION_VIEW),
    ],
)
def test_what_is_no_mammogram_stays_none_whatever_is_stated(dicom, changes, reason):
    with pytest.raises(UnusableImage) as refused:
        triage(dicom.dataset(**changes), stated=Stated("R", "CC"))
    assert refused.value.reason == reason


def test_an_intent_against_the_class_is_no_intent(dicom):
    assert triage(dicom.dataset(PresentationIntentType="FOR PROCESSING")).presentation_intent is None


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, Reason.TOMOSYNTHESIS),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.4"}, Reason.TOMOSYNTHESIS),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.5"}, Reason.TOMOSYNTHESIS),
        # As makers hid slices: CT of a mammographic view, multi-frame secondary captures, single slices as mammograms.
        ({"SOPClassUID": CT, "Modality": "CT", "BodyPartExamined": "BREAST"}, Reason.TOMOSYNTHESIS),
        ({"SOPClassUID": CT, "Modality": "MG", "ViewPosition": None}, Reason.TOMOSYNTHESIS),
        ({"SOPClassUID": CAPTURE, "NumberOfFrames": "60"}, Reason.TOMOSYNTHESIS),
        ({"SOPClassUID": f"{CAPTURE}.3", "NumberOfFrames": "60"}, Reason.TOMOSYNTHESIS),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]}, Reason.TOMOSYNTHESIS),
        ({"SOPClassUID": CT, "Modality": "CT"}, Reason.NOT_A_MAMMOGRAM),
        (
            {"SOPClassUID": CT, "Modality": "CT", "BodyPartExamined": "BREAST", "ViewPosition": None},
            Reason.NOT_A_MAMMOGRAM,
        ),
        ({"SOPClassUID": CAPTURE}, Reason.NOT_A_MAMMOGRAM),
        ({"SOPClassUID": CAPTURE, "NumberOfFrames": "60", "Modality": "US"}, Reason.NOT_A_MAMMOGRAM),
        ({"BreastImplantPresent": "YES"}, Reason.IMPLANT),
        ({"ViewPosition": "SPECIMEN"}, Reason.SPECIMEN),
        ({"ViewPosition": "RMCC"}, Reason.MAGNIFICATION_VIEW),
        ({"ViewPosition": "SMLO"}, Reason.SPOT_COMPRESSION_VIEW),
        ({"EstimatedRadiographicMagnificationFactor": "1.5"}, Reason.MAGNIFICATION_VIEW),
        ({"Modality": "CR"}, Reason.NOT_A_MAMMOGRAM),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "Modality": None}, Reason.NOT_A_MAMMOGRAM),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "Modality": "CR"}, Reason.NOT_A_MAMMOGRAM),
        ({"NumberOfFrames": "2"}, Reason.MULTI_FRAME),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, Reason.COLOUR),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.COLOUR),
    ],
)
def test_sound_objects_that_are_not_usable(dicom, changes, reason):
    with pytest.raises(UnusableImage) as caught:
        triage(dicom.dataset(**changes))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"PixelData": None}, Reason.NO_PIXELS),
        ({"StudyInstanceUID": None}, Reason.BAD_HEADER),
        ({"SOPInstanceUID": ""}, Reason.BAD_HEADER),
        ({"SeriesInstanceUID": None}, Reason.BAD_HEADER),
        ({"Rows": None}, Reason.BAD_HEADER),
        ({"Rows": 0}, Reason.BAD_HEADER),
        ({"Columns": 0}, Reason.BAD_HEADER),
        ({"Rows": 65535, "Columns": 65535}, Reason.TOO_LARGE),
        ({"BitsStored": 17}, Reason.BAD_HEADER),
        ({"BitsStored": 0}, Reason.BAD_HEADER),
        ({"BitsStored": None}, Reason.BAD_HEADER),
        ({"BitsAllocated": 32}, Reason.BAD_HEADER),
        ({"BitsAllocated": 12}, Reason.BAD_HEADER),
        ({"HighBit": 15}, Reason.BAD_HEADER),
        ({"PhotometricInterpretation": None}, Reason.BAD_HEADER),
    ],
)
def test_headers_that_say_impossible_things(dicom, changes, reason):
    with pytest.raises(BrokenImage) as caught:
        triage(dicom.dataset(**changes))
    assert caught.value.reason == reason


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    "value", ["..", "../../etc", "1.2/3", "1.2.x", "", ".", "1..2", "1.2.", "1.2.3\n", "9" * 65, "1.2 .3", "１.2"]
)
def test_only_uids_become_folder_names(dicom, value):
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        ds = dicom.dataset()
        ds[keyword]._value = value
        with pytest.raises(BrokenImage) as caught:
            triage(ds)
        assert caught.value.reason == Reason.BAD_HEADER
        assert value not in str(caught.value) or len(value) < 2
        assert known(ds)[{"Study": "study_uid", "Serie": "series_uid", "SOPIn": "sop_uid"}[keyword[:5]]] is None


def test_the_largest_size_that_is_read(dicom):
    rows = MAX_PIXELS // 4096
    assert triage(dicom.dataset(Rows=rows, Columns=4096)).frame.rows == rows
    with pytest.raises(BrokenImage):
        triage(dicom.dataset(Rows=rows + 1, Columns=4096))


@pytest.mark.parametrize("value, scheme", [("399163009", "SCT"), ("R-102D6", "SRT"), ("R-102D6", "SNM3")])
def test_magnification_views_are_not_kept(dicom, value, scheme):
    inside = view_code(dicom, "399162004", modifiers=[("399055006", "SCT"), (value, scheme)])
    beside = Sequence([dicom.code(value, scheme)])
    for changes in ({"ViewCodeSequence": inside}, {"ViewModifierCodeSequence": beside}):
        with pytest.raises(UnusableImage) as caught:
            triage(dicom.dataset(**changes))
        assert caught.value.reason == Reason.MAGNIFICATION_VIEW


@pytest.mark.parametrize("value, scheme", [("399055006", "SCT"), ("R-102D7", "SRT")])
def test_spot_compression_is_not_kept(dicom, value, scheme):
    code = view_code(dicom, "399162004", modifiers=[(value, scheme)])
    with pytest.raises(UnusableImage) as caught:
        triage(dicom.dataset(ViewCodeSequence=code))
    assert caught.value.reason == Reason.SPOT_COMPRESSION_VIEW


def test_every_modifier_of_cid_4015_is_known(dicom):
    from pydicom.sr._snomed_dict import mapping

    for name in codes.cid4015.dir():
        code = getattr(codes.cid4015, name)
        for value, scheme in ((code.value, "SCT"), (mapping["SCT"][code.value], "SRT")):
            ds = dicom.dataset(ViewCodeSequence=view_code(dicom, "399162004", modifiers=[(value, scheme)]))
            assert modifiers_of(ds) == (code.meaning.lower(),)
            if name not in ("Magnification", "SpotCompression"):
                assert triage(ds).modifiers == (code.meaning.lower(),)


def test_a_maker_s_own_codes_mean_nothing_here(dicom):
    ds = dicom.dataset(ViewCodeSequence=view_code(dicom, "399162004", "99MAKER"), ViewPosition=None)
    ds.AnatomicRegionSequence = Sequence([dicom.code("T-04020", "99MAKER")])
    assert (laterality_of(ds), view_of(ds)) == ("L", None)
    ds.ViewCodeSequence = view_code(dicom, "399162004", modifiers=[("399163009", "99MAKER")])
    assert triage(ds).modifiers == ()


def test_implants(dicom):
    displaced = view_code(dicom, "399162004", modifiers=[("399209000", "SCT")])
    found = triage(dicom.dataset(BreastImplantPresent="YES", ViewCodeSequence=displaced, ViewPosition="CC"))
    assert found.modifiers == ("implant displaced",)
    assert triage(dicom.dataset(BreastImplantPresent="YES", ViewPosition="CCID")).view == "CC"
    for said in ("NO", ""):
        assert triage(dicom.dataset(BreastImplantPresent=said)).modifiers == ()


def test_partial_and_synthetic_views_are_kept_and_said(dicom):
    made = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]
    assert triage(dicom.dataset(PartialView="YES", ImageType=made)).modifiers == ("partial view", "synthetic")
    assert triage(dicom.dataset(PartialView="NO", ImageType="ORIGINAL")).modifiers == ()


@pytest.mark.parametrize("factor", ["1", "1.08", "1.3", "", "0", "-2", "NaN"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_contact_views_are_no_magnification(dicom, factor):
    assert triage(dicom.dataset(EstimatedRadiographicMagnificationFactor=factor)).view == "MLO"


def test_hologic_s_secondary_capture_objects(dicom):
    ds = dicom.dataset(SOPClassUID=CAPTURE, Modality="OT")
    ds.private_block(0x7E01, "HOLOGIC, Inc.", create=True).add_new(0x10, "OB", b"\0\0")
    with pytest.raises(UnusableImage) as caught:
        triage(ds)
    assert caught.value.reason == Reason.TOMOSYNTHESIS


def test_the_side_of_tomosynthesis_frames(dicom):
    def frames(side, code):
        anatomy = Dataset()
        anatomy.FrameLaterality = side
        if code:
            anatomy.AnatomicRegionSequence = Sequence([dicom.code("76752008")])
            anatomy.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = Sequence([dicom.code(code)])
        group = Dataset()
        group.FrameAnatomySequence = Sequence([anatomy])
        return Sequence([group])

    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        ds = dicom.dataset(SOPClassUID="1.2.840.10008.5.1.4.1.1.13.1.3", ImageLaterality=None)
        setattr(ds, keyword, frames("R", None))
        assert known(ds)["laterality"] == "R"
        setattr(ds, keyword, frames("R", "7771000"))
        assert known(ds)["laterality"] == "L"


@pytest.mark.parametrize(
    "attributes, expected, contradictions",
    [
        ({"ViewPosition": "RMLO"}, ("L", "MLO"), ("laterality",)),
        ({"Laterality": "R"}, ("L", "MLO"), ("laterality",)),
        ({"Laterality": "R", "ImageLaterality": None, "ViewPosition": "RCC"}, ("R", "CC"), ()),
        ({"ViewCodeSequence": "399162004"}, ("L", "CC"), ("view",)),
        ({"ViewCodeSequence": "399368009"}, ("L", "MLO"), ()),
        ({"ViewCodeSequence": "399192008", "ViewPosition": "XCC"}, ("L", "XCCL"), ()),
        ({"ViewCodeSequence": "399162004", "ViewPosition": "RMLO"}, ("L", "CC"), ("laterality", "view")),
        ({"ViewPosition": "something"}, ("L", None), ()),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_contradictions_are_settled_by_order_and_noted(dicom, attributes, expected, contradictions):
    if "ViewCodeSequence" in attributes:
        attributes = attributes | {"ViewCodeSequence": view_code(dicom, attributes["ViewCodeSequence"])}
    found = triage(dicom.dataset(**attributes))
    assert (found.laterality, found.view) == expected
    assert found.contradictions == contradictions


@pytest.mark.parametrize(
    "position, laterality, view, modifiers",
    [
        ("RMCC", "R", "CC", ("magnification",)), ("MCC", None, "CC", ("magnification",)),
        ("MML", None, "ML", ("magnification",)), ("L MMLO", "L", "MLO", ("magnification",)),
        ("SMLO", None, "MLO", ("spot compression",)), ("RMSCC", "R", "CC", ("magnification", "spot compression")),
        ("CCID", None, "CC", ("implant displaced",)), ("RMLOID", "R", "MLO", ("implant displaced",)),
        ("LCC-RL", "L", "CC", ("rolled lateral",)), ("CC RM ID", None, "CC", ("implant displaced", "rolled medial")),
        ("MLOAT", None, "MLO", ("axillary tail",)), ("SIO", None, "SIO", ()), ("LMLO", "L", "MLO", ()),
        ("CCXX", None, None, ()), ("MM", None, None, ()), ("RM", None, None, ()),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_modifiers_in_view_position(dicom, position, laterality, view, modifiers):
    ds = dicom.dataset(ImageLaterality=None, ViewPosition=position)
    assert (laterality_of(ds), view_of(ds), modifiers_of(ds)) == (laterality, view, modifiers)


def test_every_view_of_cid_4014_is_known(dicom):
    short = {
        "CaudoCranial": "FB", "CranioCaudal": "CC", "CranioCaudalExaggeratedLaterally": "XCCL",
        "CranioCaudalExaggeratedMedially": "XCCM", "InferomedialToSuperolateralOblique": "ISO", "LateroMedial": "LM",
        "LateroMedialOblique": "LMO", "MedioLateralObliqueProjection": "MLO", "MedioLateralProjection": "ML",
        "SuperolateralToInferomedialOblique": "SIO", "TissueSpecimenFromBreast": "SPECIMEN",
    }  # fmt: skip
    from pydicom.sr._snomed_dict import mapping

    assert set(short) == set(codes.cid4014.dir())
    for name, expected in short.items():
        code = getattr(codes.cid4014, name)
        for value in (code.value, mapping["SCT"][code.value]):
            assert view_of(dicom.dataset(ViewCodeSequence=view_code(dicom, value), ViewPosition=None)) == expected


@pytest.mark.parametrize(
    "position, laterality, view",
    [
        ("CC", None, "CC"), ("MLO", None, "MLO"), ("XCCL", None, "XCCL"), ("LM", None, "LM"), ("LMO", None, "LMO"),
        ("LMLO", "L", "MLO"), ("RMLO", "R", "MLO"), ("L CC", "L", "CC"), ("R-MLO", "R", "MLO"), ("R_CC", "R", "CC"),
        ("RLM", "R", "LM"), ("LLMO", "L", "LMO"), ("LML", "L", "ML"), ("mlo", None, "MLO"), ("", None, None),
        ("AP", None, None), ("L", None, None), ("RR", None, None), ("LLL", None, None),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_view_position(dicom, position, laterality, view):
    ds = dicom.dataset(ImageLaterality=None, ViewPosition=position)
    assert (laterality_of(ds), view_of(ds)) == (laterality, view)


def test_laterality_codes_before_tags_before_view_position(dicom):
    def region(value, modifier=None):
        item = dicom.code(value)
        if modifier:
            item.AnatomicRegionModifierSequence = Sequence([dicom.code(modifier)])
        return Sequence([item])

    for item, side in [
        (region("76752008", "24028007"), "R"), (region("76752008", "G-A100"), "R"), (region("T-04020"), "R"),
        (region("73056007"), "R"), (region("76752008", "7771000"), "L"), (region("T-04030"), "L"),
        (region("76752008"), "L"), (region("76752008", "51440002"), "L"),
    ]:  # fmt: skip
        assert (
            laterality_of(dicom.dataset(AnatomicRegionSequence=item, ImageLaterality="L", ViewPosition="RCC")) == side
        )
    assert laterality_of(dicom.dataset(ImageLaterality=None, Laterality="R")) == "R"
    assert laterality_of(dicom.dataset(ImageLaterality="", Laterality="R")) == "R"
    assert laterality_of(dicom.dataset(ImageLaterality="B", Laterality="R", ViewPosition="RCC")) is None
    assert laterality_of(dicom.dataset(ImageLaterality=None, ViewPosition="CC")) is None
    assert view_of(dicom.dataset(ViewCodeSequence=view_code(dicom, "399162004"), ViewPosition="MLO")) == "CC"
    assert view_of(dicom.dataset(ViewCodeSequence=view_code(dicom, "0815"), ViewPosition="MLO")) == "MLO"


@pytest.mark.parametrize(
    "spacing", [None, [0.0, 0.07], [-0.1, 0.1], [0.07], ["nan", 0.07], [float("inf"), 1], [1, 2, 3]]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS", "ignore:Value .* DS")
def test_a_spacing_that_is_none(dicom, spacing):
    ds = dicom.dataset(ImagerPixelSpacing=None)
    if spacing is not None:
        ds.ImagerPixelSpacing = [0.07, 0.07]
        ds["ImagerPixelSpacing"]._value = spacing
    assert (triage(ds).pixel_spacing, triage(ds).spacing_from) == (None, None)


def test_spacing_at_the_detector_comes_first(dicom):
    found = triage(dicom.dataset(PixelSpacing=[0.06, 0.065], EstimatedRadiographicMagnificationFactor="1.08"))
    assert (found.pixel_spacing, found.spacing_from) == ((0.07, 0.08), "ImagerPixelSpacing")
    for imager in (None, [0, 0.07]):
        found = triage(dicom.dataset(ImagerPixelSpacing=imager, PixelSpacing=[0.06, 0.065]))
        assert (found.pixel_spacing, found.spacing_from) == ((0.06, 0.065), "PixelSpacing")


def test_what_is_known_of_an_empty_data_set_is_nothing():
    expected = {field.name for field in fields(SkippedRecord)} - {"status", "reason", "source_sha256", "key"}
    assert known(Dataset()) == dict.fromkeys(expected)


@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian", "deflated", "RLE", "JPEG 2000 lossless"])
def test_the_header_keeps_everything_but_the_pixels(dicom, name):
    ds = dicom.dataset(syntax=dicom.lossless[name])
    ds.private_block(0x0019, "A VENDOR", create=True).add_new(0x01, "US", 515)
    ds.ViewCodeSequence = view_code(dicom, "399162004", modifiers=[("399055006", "SCT")])
    ds.WindowCenter, ds.WindowWidth = [1000, 2000], [500, 700]
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4, 0, 16], b"\x00\x01\x02\x03\x04\x05\x06\x07"
    item["LUTData"].VR = "OW"
    ds.VOILUTSequence = Sequence([item])
    original = read_dicom(io.BytesIO(dicom.bytes(ds)))
    data = header_bytes(original)
    again = read_dicom(io.BytesIO(data))
    assert "PixelData" not in again
    assert again.file_meta.TransferSyntaxUID == dicom.lossless[name]
    del ds.PixelData
    for element in ds:
        assert again[element.tag] == original[element.tag], element.keyword
    assert {element.tag for element in again} == {element.tag for element in ds}
    assert header_bytes(again) == data


def test_a_file_that_is_not_dicom():
    for data in (b"", b"hello", bytes(200), b"\x89PNG" * 100, b"\0" * 128 + b"DICX" + bytes(100)):
        with pytest.raises(UnusableImage) as caught:
            read_dicom(io.BytesIO(data))
        assert caught.value.reason == Reason.NOT_DICOM


def test_an_inflation_bomb_is_refused(dicom, monkeypatch):
    ds = dicom.dataset(syntax=dicom.lossless["deflated"])
    data = dicom.bytes(ds)
    monkeypatch.setattr("mammofast.archive.reading.LARGE_BYTES", 5_000)
    told = []
    # A byte of padding may follow the end: deflated data sets are of even length.
    found = read_dicom(io.BytesIO(data + b"\0"), before_large=lambda: told.append(1))
    assert (found.PixelData, told) == (ds.PixelData, [1])
    monkeypatch.setattr("mammofast.archive.reading.MAX_FILE_BYTES", 10_000)
    with pytest.raises(BrokenImage) as caught:
        read_dicom(io.BytesIO(data))
    assert caught.value.reason == Reason.TOO_LARGE
    monkeypatch.undo()
    read_dicom(io.BytesIO(data), before_large=lambda: told.append(1))
    assert told == [1]
    with pytest.raises(BrokenImage) as caught:
        read_dicom(io.BytesIO(data), header_only=True)
    assert caught.value.reason == Reason.TOO_LARGE


def test_no_message_quotes_what_was_read(dicom):
    secret = "SECRET"
    for ds in (dicom.dataset(Modality=secret), dicom.dataset(PhotometricInterpretation=secret),
               dicom.dataset(PresentationIntentType=secret), dicom.dataset(ViewPosition=secret)):  # fmt: skip
        try:
            found = triage(ds)
            assert secret not in repr(found)
        except (UnusableImage, BrokenImage) as error:
            shown = str(error)
            assert secret not in shown or "modality" in shown
