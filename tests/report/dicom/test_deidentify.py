"""Against PS3.15 table E.1-1 as innolitics/dicom-standard gives it (edition 2024e): table_e1_1.json."""

import io
import json
from pathlib import Path

import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID

from mammofast.errors import Reason, ResultsError, UnusableImage
from mammofast.report.dicom.deidentify import MIN_KEY_BYTES, Deidentifier, read_key

TABLE = {
    int(tag, 16): action for tag, action in json.loads((Path(__file__).parent / "table_e1_1.json").read_text()).items()
}
CURVE, OVERLAY, OVERLAY_COMMENTS = 0x50100010, 0x60103000, 0x60024000
KEY = b"a key that is not secret at all"
SOP_CLASS = "1.2.840.10008.5.1.4.1.1.88.50"
# A marked value of every VR, and how it looks in a file; all of them differ from what dicom-anonymizer puts there.
MARKED = {
    "AE": "SECRETAE", "AS": "077Y", "CS": "SECRETCS", "DA": "19770707", "DS": "77.7707", "DT": "19770707070707",
    "IS": "770777", "LO": "SECRET^LO", "LT": "SECRET LT", "PN": "SECRET^PN", "SH": "SECRET SH", "ST": "SECRET ST",
    "TM": "070707.7", "UC": "SECRET UC", "UI": "1.2.77.7707", "UR": "http://SECRET", "UT": "SECRET UT",
    "OB": b"SECRETOB", "UN": b"SECRETUN", "OW": b"SECRETOW", "OB or OW": b"SECRETOB", "US": 7707, "UL": 7707770,
    "SS": 7707, "SL": 7707770, "FL": 7707.5, "FD": 7707.25,
}  # fmt: skip


def element(tag, inner=None):
    """An attribute with a marked value; a sequence holds an item of marked text."""
    vr = {CURVE: "US", OVERLAY: "OW", OVERLAY_COMMENTS: "LT"}.get(tag) or dictionary_VR(tag)
    if vr == "SQ":
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "SECRET", "SECRETSD", "SECRET meaning"
        item.ReferencedSOPInstanceUID = MARKED["UI"]
        return DataElement(tag, "SQ", Sequence([item]))
    return DataElement(tag, "OW" if vr == "OB or OW" else vr, MARKED[vr])


def is_marked(value):
    if isinstance(value, Dataset):
        return any(is_marked(inner.value) for inner in value)
    if isinstance(value, (list, Sequence)):
        return any(map(is_marked, value))
    return value in MARKED.values() or any(mark in str(value) for mark in ("SECRET", "7707"))


def an_object(**attributes):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SOP_CLASS
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientName, ds.PatientID, ds.Manufacturer = "SECRET^NAME", "SECRETID", "mammofast"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def nested(*elements):
    """A data set that keeps its sequences, with attributes two items deep, and inside structured content."""
    inner = Dataset()
    for each in elements:
        inner.add(each)
    middle = Dataset()
    middle.PurposeOfReferenceCodeSequence = Sequence([inner])
    content = Dataset()
    content.ContentSequence = Sequence([inner])
    ds = an_object()
    ds.ContributingEquipmentSequence = Sequence([middle])
    ds.ContentSequence = Sequence([content])
    return ds, lambda new: [
        new.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0],
        new.ContentSequence[0].ContentSequence[0],
    ]


# The Clean Structured Content and Clean Graphics Options: our own words and outlines, which tests below look into.
OPTIONS = {"ContentSequence", "GraphicAnnotationSequence"}
TAGS = {tag for tag in TABLE if keyword_for_tag(tag) not in OPTIONS} | {CURVE, OVERLAY, OVERLAY_COMMENTS}


@pytest.mark.parametrize("tag", sorted(TAGS), ids=lambda tag: f"{tag:08x}")
@pytest.mark.parametrize("deep", [False, True])
def test_no_value_of_the_table_is_kept(tag, deep):
    if deep:
        ds, holders = nested(element(tag))
    else:
        ds, holders = an_object(), lambda new: [new.file_meta if tag >> 16 == 2 else new]
        (ds.file_meta if tag >> 16 == 2 else ds).add(element(tag))
    if deep and tag >> 16 == 2:
        return  # group 2 has no sequences
    # "X", though a presentation state has to have them.
    action = "D" if tag in (0x00700082, 0x00700083) else TABLE.get(tag, "X")
    for holder in holders(Deidentifier(KEY)(ds)):
        if action == "X":
            assert tag not in holder
            continue
        found = holder.get(tag)
        value = None if found is None else found.value
        if action == "X/Z/U*":  # "replacement of contained instance UIDs"
            assert value[0].ReferencedSOPInstanceUID == Deidentifier(KEY).uid(MARKED["UI"])
            continue
        assert not is_marked(value)
        if action == "U":
            assert value == Deidentifier(KEY).uid(MARKED["UI"])
        if action == "D":
            assert value not in (None, "", b"", [])
        if action in ("D", "Z", "Z/D"):  # of type 1 or 2: it has to stay
            assert found is not None


def test_every_vr_of_the_table_is_marked():
    for tag in TABLE:
        assert is_marked(element(tag).value), f"{tag:08x}"


def test_nothing_of_it_is_left_in_the_bytes():
    kept = OPTIONS | {"ReferencedImageSequence", "SourceImageSequence"}  # what they hold is looked at alone
    everything = [element(tag) for tag in TABLE if tag >> 16 not in (0, 2) and keyword_for_tag(tag) not in kept]
    ds, _ = nested(*everything)
    for each in everything:
        ds.add(each)
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    assert buffer.getvalue().count(b"SECRET") > 400
    again = dcmread(io.BytesIO(buffer.getvalue()))  # raw, as an archive's header is
    buffer = io.BytesIO()
    dcmwrite(buffer, Deidentifier(KEY)(again), enforce_file_format=True)
    assert b"SECRET" not in buffer.getvalue()
    assert b"7707" not in buffer.getvalue()


def test_private_and_unknown_attributes_go():
    ds, holders = nested()
    for holder in [ds, *holders(ds)]:
        holder.private_block(0x0019, "SECRET MAKER", create=True).add_new(1, "LO", "SECRET")
        holder.add(DataElement(0x00190011, "LO", "SECRET"))
        holder.add(DataElement(0x0008FFFE, "UN", b"SECRET"))
        holder.add(DataElement(0x60223000, "OW", b"SECRET"))
    new = Deidentifier()(ds)
    for holder in [new, *holders(new)]:
        assert not [each for each in holder if each.tag.is_private or each.tag in (0x0008FFFE, 0x60223000)]


def test_everything_in_a_replaced_sequence_is_replaced():
    item, inner = Dataset(), Dataset()
    inner.LUTData, inner.TextValue, inner.FloatPixelData = b"SECRET", "SECRET", b"SECRET77"
    inner.add(DataElement(0x00190011, "LO", "SECRET"))
    inner.SOPClassUID, inner.ReferencedSOPInstanceUID = SOP_CLASS, "1.2.3.4"
    item.VerifyingObserverName, item.VerifyingObserverIdentificationCodeSequence = "SECRET", Sequence([inner])
    new = Deidentifier(KEY)(an_object(VerifyingObserverSequence=Sequence([item]))).VerifyingObserverSequence[0]
    assert new.VerifyingObserverName == "ANONYMIZED"
    kept = new.VerifyingObserverIdentificationCodeSequence[0]
    assert (kept.TextValue, kept.SOPClassUID) == ("ANONYMIZED", SOP_CLASS)
    assert kept.ReferencedSOPInstanceUID == Deidentifier(KEY).uid("1.2.3.4")
    assert not kept.LUTData
    assert not kept.FloatPixelData
    assert 0x00190011 not in kept


def test_references_hold_across_objects_and_exports_of_one_key():
    ours = Deidentifier(KEY)
    first, second = an_object(), an_object(SOPInstanceUID="1.2.3.5")
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SOP_CLASS, "1.2.3.4"
    second.ReferencedImageSequence = second.SourceImageSequence = Sequence([item])
    second.ReferencedSeriesSequence = Sequence([Dataset()])
    second.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3.1"
    second.ReferencedSeriesSequence[0].ReferencedInstanceSequence = Sequence([item])
    second.FailedSOPInstanceUIDList = ["1.2.3.4", "1.2.3.5"]
    second.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"  # registered: Talairach's
    new, other = ours(first), Deidentifier(KEY)(second)
    assert new.SOPInstanceUID == new.file_meta.MediaStorageSOPInstanceUID != "1.2.3.4"
    assert UID(new.SOPInstanceUID).is_valid
    assert new.SOPInstanceUID != other.SOPInstanceUID
    assert (new.StudyInstanceUID, new.SeriesInstanceUID) == (other.StudyInstanceUID, other.SeriesInstanceUID)
    for sequence in (other.ReferencedImageSequence, other.SourceImageSequence,
                     other.ReferencedSeriesSequence[0].ReferencedInstanceSequence):  # fmt: skip
        assert sequence[0].ReferencedSOPInstanceUID == new.SOPInstanceUID
        assert sequence[0].ReferencedSOPClassUID == SOP_CLASS
    assert other.ReferencedSeriesSequence[0].SeriesInstanceUID == new.SeriesInstanceUID
    assert list(other.FailedSOPInstanceUIDList) == [new.SOPInstanceUID, other.SOPInstanceUID]
    assert other.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert (new.SOPClassUID, new.file_meta.TransferSyntaxUID) == (SOP_CLASS, "1.2.840.10008.1.2.1")
    for stranger in (Deidentifier(), Deidentifier(KEY + b"!")):
        assert stranger(first).SOPInstanceUID != new.SOPInstanceUID
    assert Deidentifier(KEY)(first) == new
    assert first.SOPInstanceUID == "1.2.3.4"  # what is given is not changed


def test_a_patient_becomes_one_pseudonym():
    ours = Deidentifier(KEY)
    new = ours(an_object())
    assert new.PatientID == ours(an_object(StudyInstanceUID="1.9", PatientID="SECRETID ")).PatientID
    assert new.PatientName == f"De-identified^{new.PatientID}"
    assert new.PatientID != ours(an_object(PatientID="SECRETIE")).PatientID
    assert new.PatientID != Deidentifier()(an_object()).PatientID
    nameless = ours(an_object(PatientID="")).PatientID
    assert (
        nameless
        == ours(an_object(PatientID=None)).PatientID
        != ours(an_object(PatientID="", StudyInstanceUID="1.9")).PatientID
    )
    assert len(nameless) == 18


def test_what_was_done_is_stated():
    new = Deidentifier()(an_object())
    assert (new.PatientIdentityRemoved, new.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert [item.CodeValue for item in new.DeidentificationMethodCodeSequence] == ["113100", "113104", "113103"]
    method, key = new.DeidentificationMethod
    assert "PS3.15" in method
    assert len(method) <= 64
    # Which exports are of one key, and nothing of the key.
    same = [Deidentifier(b"k" * 32)(an_object()).DeidentificationMethod[1] for _ in range(2)]
    assert same[0] == same[1] != key
    assert len(key) == len("key ") + 8


def test_our_own_words_and_outlines_are_kept_and_names_among_them_go():
    text, name, graphic = Dataset(), Dataset(), Dataset()
    text.ValueType, text.TextValue = "TEXT", "Mass candidate 1"
    name.ValueType, name.PersonName = "PNAME", "SECRET^READER"
    ds = an_object(ContentSequence=Sequence([text, name]))
    item = Dataset()
    item.GraphicData, graphic.TextObjectSequence = [1.0, 2.0, 3.0, 4.0], Sequence([Dataset()])
    graphic.GraphicObjectSequence = Sequence([item])
    graphic.TextObjectSequence[0].UnformattedTextValue = "Mass 1"
    ds.GraphicAnnotationSequence = Sequence([graphic])
    new = Deidentifier()(ds)
    assert new.ContentSequence[0].TextValue == "Mass candidate 1"
    assert new.ContentSequence[1].PersonName == "ANONYMIZED"
    assert new.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicData == [1.0, 2.0, 3.0, 4.0]
    assert new.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue == "Mass 1"

    ds.Manufacturer = "somebody else"
    new = Deidentifier()(ds)
    assert new.ContentSequence[0].TextValue == "ANONYMIZED"
    assert new.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue == "ANONYMIZED"
    assert [item.CodeValue for item in new.DeidentificationMethodCodeSequence] == ["113100"]


def test_a_file_s_own_header_and_preamble_say_nothing():
    ds = an_object()
    ds.preamble = b"SECRET".ljust(128, b"!")
    ds.file_meta.SourceApplicationEntityTitle = ds.file_meta.SendingApplicationEntityTitle = "SECRET"
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = "1.2.77", b"SECRET"
    new = Deidentifier()(ds)
    assert new.preamble == bytes(128)
    assert {each.keyword for each in new.file_meta} == {
        "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID"
    }  # fmt: skip


@pytest.mark.parametrize("burned_in, refused", [("NO", False), ("NO ", False), ("YES", True), ("", True), (None, True)])
def test_pictures_that_may_show_a_name_are_refused(burned_in, refused):
    ds = an_object(PixelData=b"\0\0")
    if burned_in is not None:
        ds.BurnedInAnnotation = burned_in
    if not refused:
        assert Deidentifier()(ds).PixelData == b"\0\0"
        return
    with pytest.raises(UnusableImage) as caught:
        Deidentifier()(ds)
    assert caught.value.reason == Reason.BURNED_IN_ANNOTATION
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    assert Deidentifier()(ds).PixelData == b"\0\0"  # a mask shows no one


def test_key_files(tmp_path):
    file = tmp_path / "SECRET.key"
    file.write_bytes(bytes(range(MIN_KEY_BYTES)))
    assert Deidentifier(read_key(file)).uid("1.2") == Deidentifier(bytes(range(MIN_KEY_BYTES))).uid("1.2")
    file.write_bytes(bytes(MIN_KEY_BYTES - 1))
    with pytest.raises(ResultsError, match="15 bytes, expected 16") as short:
        read_key(file)
    with pytest.raises(ResultsError, match="cannot be read") as missing:
        read_key(tmp_path / "SECRET.none")
    assert "SECRET" not in str(short.value) + str(missing.value)
