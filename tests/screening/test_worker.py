"""What a worker makes of misbehaving methods, without a cluster around it."""

from types import SimpleNamespace

import numpy as np
import pytest

from mammofast.errors import BrokenImage, EngineError, Reason
from mammofast.records import Finding, ImageResult
from mammofast.screening.entry import parse_entry
from mammofast.screening.worker import screen_images, screen_task


def image(number):
    record = SimpleNamespace(
        study_uid="1.2",
        series_uid="1.3",
        sop_uid=f"1.4.{number}",
        laterality=None,
        view=None,
        rows=10,
        cols=8,
        pixel_spacing=None,
        content_sha256=f"{number:064x}",
    )
    return SimpleNamespace(record=record, shape=(10, 8))


class Screener:
    """Does for an image what ``acts`` says; remembers how images came."""

    bundle_id, settings_id = "b" * 64, "c" * 64

    def __init__(self, **acts):
        self.acts = acts
        self.calls = []

    def screen_images(self, images):
        numbers = [int(image.record.sop_uid.rpartition(".")[2]) for image in images]
        self.calls.append(numbers)
        results = []
        for number in numbers:
            act = self.acts.get(f"image{number}", ImageResult((10, 8)))
            if isinstance(act, Exception):
                raise act
            if act is not None:
                results.append(act)
        return results


def outcomes(screener, numbers=(1, 2, 3)):
    encoded = screen_images(screener, [image(number) for number in numbers])
    entries = [parse_entry(content) for _, content in encoded]
    assert [status for status, _ in encoded] == [entry.status for entry in entries]
    assert [entry.image.sop_uid for entry in entries] == [f"1.4.{number}" for number in numbers]
    return [(entry.status, entry.reason) for entry in entries]


def test_images_go_to_the_method_together():
    screener = Screener()
    assert outcomes(screener) == [("done", None)] * 3
    assert screener.calls == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Doe^Jane"), "internal: RuntimeError"),
        (PermissionError(13, "no", "/home/Doe^Jane.dcm"), "read: the archive could not be read (PermissionError)"),
        (BrokenImage(Reason.READ, "array 0 cannot be read"), "read: array 0 cannot be read"),
        (MemoryError(), "internal: MemoryError"),
    ],
)
def test_what_a_method_raises_stays_with_its_image(error, reason):
    screener = Screener(image2=error)
    assert outcomes(screener) == [("done", None), ("failed", reason), ("done", None)]
    assert screener.calls == [[1, 2, 3], [1], [2], [3]]


def test_a_result_too_few_fails_the_image_that_has_none():
    screener = Screener(image3=None)
    assert outcomes(screener) == [("done", None), ("done", None), ("failed", "internal: ValueError")]


def test_a_finding_that_cannot_be_kept_fails_its_image():
    wrong = Finding((0, 0, 3, 3), 1.0, 1.0, np.ones((2, 2), bool))
    screener = Screener(image1=ImageResult((10, 8), (wrong,)))
    assert outcomes(screener) == [("failed", "internal: ValueError"), ("done", None), ("done", None)]


def test_an_error_of_the_method_is_kept_as_it_is():
    screener = Screener(image1=ImageResult((10, 8), error="not-finite: the detector gave NaN"))
    assert outcomes(screener)[0] == ("failed", "not-finite: the detector gave NaN")


def test_a_worker_without_the_bundle_says_so():
    with pytest.raises(EngineError, match="could not open the bundle"):
        screen_task("nothing", [])
