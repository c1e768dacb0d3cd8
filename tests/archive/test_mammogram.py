import io
from dataclasses import fields

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from mammofast.archive.mammogram import MAX_PIXELS, known, triage
from mammofast.archive.reading import header_bytes, read_dicom
from mammofast.archive.record import SkippedRecord
from mammofast.archive.views import laterality_of, view_of
from mammofast.errors import BrokenImage, Reason, UnusableImage


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


def test_an_intent_against_the_class_is_no_intent(dicom):
    assert triage(dicom.dataset(PresentationIntentType="FOR PROCESSING")).presentation_intent is None


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, Reason.TOMOSYNTHESIS),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Reason.NOT_A_MAMMOGRAM),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, Reason.NOT_A_MAMMOGRAM),
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


def test_other_modifiers_are_kept(dicom):
    modifiers = [(code.value, "SCT") for name in codes.cid4015.dir() if name != "Magnification"
                 for code in [getattr(codes.cid4015, name)]]  # fmt: skip
    assert len(modifiers) > 10
    assert triage(dicom.dataset(ViewCodeSequence=view_code(dicom, "399162004", modifiers=modifiers))).view == "CC"


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
    assert triage(ds).pixel_spacing is None


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
