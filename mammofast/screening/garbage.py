"""Python's looking for garbage, while a night of images goes by."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Objects that come to be, less those that go, between two looks. Python's own number, some hundreds, is reached again
# and again by images that are listed and sent soon; to look through them, and then through all else, was a tenth of
# what the program that hands out a million images did.
_OBJECTS = 20_000


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Have Python look for garbage in cycles seldom, in this process, unless it does so even more seldom already."""
    before = gc.get_threshold()
    if 0 < before[0] < _OBJECTS:
        gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
