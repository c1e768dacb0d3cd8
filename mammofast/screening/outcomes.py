"""What a screener makes of images, as it is put on record: whatever goes wrong with one of them stays with it.

Nothing of Dask is in here: it takes longer to import than all else that an image screened alone waits for.
"""

from collections.abc import Sequence
from typing import Any, Protocol, Self

from mammofast.archive import ArchiveVolume, Unit
from mammofast.errors import DeviceLostError, ImageError, Reason
from mammofast.records import ImageResult, VolumeResult
from mammofast.screening.entry import Entry, ImageInfo, Run

Result = ImageResult | VolumeResult


class Screener(Protocol):
    """What a worker needs of :class:`mammofast.methods.screener.Screener`."""

    @property
    def bundle_id(self) -> str: ...  # noqa: D102
    @property
    def settings_id(self) -> str: ...  # noqa: D102
    @property
    def concurrent(self) -> bool: ...  # noqa: D102
    def screen_images(self, images: Sequence[Any]) -> list[Any]: ...  # noqa: D102
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: Any) -> None: ...


def screen_images(screener: Screener, images: Sequence[Unit]) -> list[tuple[str, bytes]]:
    """Screen images; whatever goes wrong with one of them stays with it."""
    run = Run(screener.bundle_id, screener.settings_id)
    encoded = []
    for image, result in zip(images, _results(screener, images), strict=True):
        info = ImageInfo.of(image.record)
        try:
            entry = Entry.of(info, run, result)
        except ValueError as error:
            entry = Entry.of(info, run, _failure(image, error))
        encoded.append((entry.status, entry.to_bytes()))
    return encoded


def _results(screener: Screener, images: Sequence[Unit]) -> list[Result]:
    try:
        results = screener.screen_images(images)
        if len(results) == len(images):
            return results
        error: Exception = ValueError("a method returned too few results")
    except DeviceLostError:
        raise
    except Exception as caught:
        error = caught
    if len(images) == 1:
        return [_failure(images[0], error)]
    # Which of them it was is not known: each alone, so that only the one that fails again fails.
    return [result for image in images for result in _results(screener, [image])]


def _failure(image: Unit, error: Exception) -> Result:
    """Name the error's kind only: what an unexpected error says may hold anything, a patient's name included."""
    words = f"{Reason.INTERNAL}: {type(error).__name__}"
    if isinstance(error, ImageError):
        words = str(error)
    elif isinstance(error, OSError):
        words = f"{Reason.READ}: the archive could not be read ({type(error).__name__})"
    if isinstance(image, ArchiveVolume):
        return VolumeResult(image.shape, error=words)
    return ImageResult(image.shape, error=words)
