"""How often Python looks for garbage while a run lasts."""

import contextlib
import gc

import pytest

from mammofast.screening import screen
from mammofast.screening.garbage import _OBJECTS, seldom_collected


@pytest.fixture(autouse=True)
def thresholds():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_it_is_seldom_within_and_as_before_afterwards_whatever_happens():
    with contextlib.suppress(ZeroDivisionError), seldom_collected():
        assert gc.get_threshold() == (_OBJECTS, 10, 10)
        raise ZeroDivisionError
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("already", [(0, 10, 10), (_OBJECTS + 1, 5, 5)])
def test_what_is_seldom_or_never_already_stays(already):
    gc.set_threshold(*already)
    with seldom_collected():
        assert gc.get_threshold() == already
    assert gc.get_threshold() == already


def test_it_is_seldom_while_images_are_screened(archive, bundle, tmp_path):
    seen = []
    screen(archive, tmp_path / "results", bundle, workers=1, progress=lambda n: seen.append(gc.get_threshold()))
    assert set(seen) == {(_OBJECTS, 10, 10)}
    assert gc.get_threshold() == (700, 10, 10)
