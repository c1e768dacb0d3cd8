"""Openers whose real screeners are slow in one stage. Worker processes import this; what is slowed ends with them.

The program that starts workers opens a bundle, too: there nothing is slowed.
"""

import multiprocessing
import time
from functools import wraps

from mammofast import ops
from mammofast.archive import ArchiveImage
from mammofast.methods.screener import open_bundle

SECONDS = 0.06


def _slowed(function):
    @wraps(function)
    def slow(*arguments, **options):
        time.sleep(SECONDS)
        return function(*arguments, **options)

    return slow


def _slow(owner, name):
    if multiprocessing.parent_process() is not None:
        setattr(owner, name, _slowed(getattr(owner, name)))


def detect(bundle, device, settings):
    screener = open_bundle(bundle, device, settings)
    _slow(screener._engines["detector"], "run")
    return screener


def prepare(bundle, device, settings):
    _slow(ops, "detection_inputs")
    return open_bundle(bundle, device, settings)


def fuse(bundle, device, settings):
    _slow(ops, "fuse_boxes")
    return open_bundle(bundle, device, settings)


def decode(bundle, device, settings):
    _slow(ops, "decode_yolo")
    return open_bundle(bundle, device, settings)


def read(bundle, device, settings):
    _slow(ArchiveImage, "grey_table")
    return open_bundle(bundle, device, settings)


class _Between:
    """A screener that dawdles where no stage is at work."""

    concurrent = False

    def __init__(self, real):
        self._real = real
        self.bundle_id, self.settings_id = real.bundle_id, real.settings_id

    def screen_images(self, images):
        time.sleep(SECONDS * len(images))
        return self._real.screen_images(images)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._real.close()


def between(bundle, device, settings):
    return _Between(open_bundle(bundle, device, settings))


SLOW = {
    "detect": detect,
    "prepare": prepare,
    "fuse": fuse,
    "decode": decode,
    "read": read,
    "between stages": between,
}
