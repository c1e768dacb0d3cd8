"""Every tree against the tables of PS3.16, and the check itself against trees that are wrong."""

from copy import deepcopy

import pytest
from pydicom import Dataset, config

from mammofast.records import ImageResult
from tests.report.dicom.conftest import SUMMARY, some_findings
from tests.report.dicom.headers import STYLES, VIEWS, mammogram

POINTS = {**SUMMARY, "operating_points": [0.85, 0.6]}


def four_views(**attributes):
    return [mammogram(laterality=side, view=view, **attributes) for side in "LR" for view in ("CC", "MLO")]


@pytest.mark.parametrize("style", STYLES)
def test_every_style_of_header(report, style):
    with config.disable_value_validation():  # one style is careless
        written = report([mammogram(style), mammogram(style, "R", "CC")], 2)
        assert written.errors() == []


@pytest.mark.parametrize(("number", "summary"), [(0, SUMMARY), (1, SUMMARY), (10, SUMMARY), (10, POINTS)])
def test_none_one_and_ten_findings_an_image(report, number, summary):
    written = report([mammogram(), mammogram(view="CC")], number, summary=summary)
    assert written.errors() == []
    assert len(list(written.items("111059"))) == 2 * number


def test_every_view(report):
    images = [mammogram(laterality=side, view=view) for side in "LR" for view in VIEWS]
    written = report(images, 1)
    assert written.errors() == []
    codes = {header.SOPInstanceUID: header.ViewCodeSequence[0].CodeValue for header in written.headers.values()}
    sides = {header.SOPInstanceUID: header.ImageLaterality for header in written.headers.values()}
    entries = written.dataset.ContentSequence[1].ContentSequence
    assert len(entries) == 2 * len(VIEWS)
    for entry in entries:
        uid = entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        (view,), (side,) = written.items("111031", entry), written.items("111027", entry)
        assert view.ConceptCodeSequence[0].CodeValue == codes[uid]
        assert side.ConceptCodeSequence[0].CodeValue == {"L": "80248007", "R": "73056007"}[sides[uid]]


def test_modifiers_spacing_and_orientation_of_an_image(report):
    image = mammogram(view="CC", ImagerPixelSpacing=[0.05, 0.1])
    old, new = Dataset(), Dataset()
    old.CodeValue, old.CodingSchemeDesignator, old.CodeMeaning = "R-102D3", "SRT", "Rolled Lateral"
    new.CodeValue, new.CodingSchemeDesignator, new.CodeMeaning = "442581004", "SCT", "Nipple in profile"
    image.ViewCodeSequence[0].ViewModifierCodeSequence = [old, new]
    written = report([image], 0)
    assert written.errors() == []
    modifiers = [item.ConceptCodeSequence[0] for item in written.items("111032")]
    assert {(code.CodeValue, code.CodeMeaning) for code in modifiers} == {
        ("399197002", "Rolled Lateral"),
        ("442581004", "Nipple in profile"),
    }
    numbers = {
        name: str(next(written.items(code)).MeasuredValueSequence[0].NumericValue)
        for name, code in (("across", "111026"), ("down", "111066"), ("rows", "110910"), ("cols", "110911"))
    }
    assert numbers == {"across": "0.1", "down": "0.05", "rows": "96", "cols": "80"}
    assert [next(written.items(code)).TextValue for code in ("111044", "111043")] == ["A", "R"]


def outcomes(record):
    """Two with findings, one failed, one that the run has not come to."""
    if (record.laterality, record.view) == ("R", "CC"):
        return ImageResult((0, 0), error="decode: the pixels are cut off")
    if (record.laterality, record.view) == ("R", "MLO"):
        return None
    shape = (record.rows, record.cols)
    return ImageResult(shape, some_findings(3, shape))


def all_failed(record):
    return ImageResult((0, 0), error="internal: MemoryError")


@pytest.mark.parametrize("outcome", [outcomes, all_failed])
def test_failed_and_pending_images(report, outcome):
    assert report(four_views(), outcome).errors() == []


def code_item(relationship, name, value):
    item = Dataset()
    item.ValueType, item.RelationshipType = "CODE", relationship
    for keyword, (code, scheme) in (("ConceptNameCodeSequence", name), ("ConceptCodeSequence", value)):
        part = Dataset()
        part.CodeValue, part.CodingSchemeDesignator, part.CodeMeaning = code, scheme, "?"
        setattr(item, keyword, [part])
    return item


def walk(item):
    yield item
    for child in item.get("ContentSequence", []):
        yield from walk(child)


def one_of_each(record):
    """Findings of both rendering intents in one image, another one failed."""
    if record.view == "CC":
        return ImageResult((0, 0), error="decode: the pixels are cut off")
    shape = (record.rows, record.cols)
    return ImageResult(shape, some_findings(2, shape))


def test_the_check_notices_items_that_are_missing_doubled_or_out_of_order(report):
    """Change each item of a tree in turn; only what the tables leave open may go unnoticed."""
    written = report([mammogram(), mammogram(view="CC")], one_of_each, summary=POINTS)
    assert written.errors() == []
    good = written.dataset
    unnoticed = {"removed": set(), "doubled": set(), "moved": set()}
    for number in range(1, sum(1 for _ in walk(good))):
        for change, names in unnoticed.items():
            written.dataset = deepcopy(good)
            name = changed(written.dataset, number, change)
            if name is not None and not written.errors():
                names.add(name)
    written.dataset = good
    one_of_several = {"111034", "111002"}
    # Certainty, outline, recommended operating point, area.
    assert unnoticed["removed"] == one_of_several | {"111012", "111041", "111092", "42798000"}
    # A finding, a detection, an image and a reference to one may stand several times.
    assert unnoticed["doubled"] == one_of_several | {"111059", "111022", "image", "reference"}
    assert unnoticed["moved"] == one_of_several | {"image"}


def changed(report, number, change):
    """Change the item of that number in document order; return its concept, None where there is nothing to change."""
    parents = {id(child): item for item in walk(report) for child in item.get("ContentSequence", [])}
    item = list(walk(report))[number]
    siblings = parents[id(item)].ContentSequence
    place = next(k for k, sibling in enumerate(siblings) if sibling is item)
    if change == "removed":
        del siblings[place]
        if not siblings:
            del parents[id(item)].ContentSequence
    elif change == "doubled":
        siblings.insert(place, deepcopy(item))
    elif place + 1 == len(siblings):
        return None
    else:
        siblings[place], siblings[place + 1] = siblings[place + 1], siblings[place]
    if "ReferencedContentItemIdentifier" in item:
        return "reference"
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else "image"
