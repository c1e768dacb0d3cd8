"""A bundle ready to screen: what a CAD developer embeds and what each worker holds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from mammofast.bundles import Bundle, device_of, load_bundle, open_network
from mammofast.engine import Engine
from mammofast.engine.on_device import DeviceEngine
from mammofast.errors import BrokenImage, BundleError, EngineError, ImageError, Reason
from mammofast.methods.admission import CardMemory
from mammofast.methods.arrays import array_image
from mammofast.methods.device_flow import OnDevice
from mammofast.methods.parameters import read_parameters
from mammofast.methods.probability_map_device import TiledOnDevice, WholeImageOnDevice
from mammofast.methods.tiled import Tiled
from mammofast.methods.two_stage import TwoStage
from mammofast.methods.two_stage_device import TwoStageOnDevice
from mammofast.methods.volume import Volume
from mammofast.methods.volume_inputs import ArrayVolume
from mammofast.methods.whole_image import WholeImage
from mammofast.records import ImageResult, ImageSource, VolumeResult, VolumeSource
from mammofast.settings import Settings

METHODS: dict[str, Any] = {
    "tiled": Tiled,
    "two_stage": TwoStage,
    "volume": Volume,
    "whole_image": WholeImage,
}
# Methods that read volumes, all others read images.
OF_VOLUMES = frozenset({"volume"})
# How a method is run where all its engines are on a card, if otherwise.
ON_DEVICE: dict[str, Any] = {
    "tiled": TiledOnDevice,
    "two_stage": TwoStageOnDevice,
    "whole_image": WholeImageOnDevice,
}


class Method(Protocol):
    """A paper's way from images to findings."""

    def screen(self, images: Sequence[Any]) -> list[Any]:
        """Screen images, or volumes; one that fails has a result with ``error`` set."""


class Screener:
    """A bundle with its networks loaded. Use it in a ``with`` block, or close it.

    Findings are the same to the bit as those of ``mammofast screen`` with the same bundle and settings, given the
    archive's image, or an array where stored values are presentation values already: levels are means of stored values,
    so that what a VOI window does to them comes after. One screener serves one thread at a time, unless it is
    ``concurrent``.
    """

    def __init__(self, bundle: Bundle, settings: Settings, device: str = "auto") -> None:
        if bundle.method not in METHODS:
            raise BundleError(
                f"bundle {bundle.name!r}: method {bundle.method!r} is unknown, expected one of {sorted(METHODS)}"
            )
        kind = METHODS[bundle.method]
        parameters = read_parameters(kind.parameters_type, bundle.parameters, f"bundle {bundle.name!r}: parameters")
        self.bundle = bundle
        self.settings = settings
        self._engines: dict[str, Engine] = {}
        self._method: Method | None = None
        try:
            for name in kind.networks:
                self._engines[name] = open_network(bundle, name, device)
            on_card = all(isinstance(engine, DeviceEngine) for engine in self._engines.values())
            way = ON_DEVICE.get(bundle.method, kind) if on_card else kind
            self._method = way(parameters, self._engines, settings)
        except BaseException:
            self.close()
            raise

    @property
    def bundle_id(self) -> str:
        """SHA-256 (hex) that stands for the manifest and all it hashes."""
        return self.bundle.id

    @property
    def settings_id(self) -> str:
        """SHA-256 (hex) of the settings."""
        return self.settings.id

    @property
    def concurrent(self) -> bool:
        """Whether several threads may screen at once; their images then share batches."""
        return isinstance(self._method, OnDevice)

    @property
    def memory(self) -> CardMemory | None:
        """Who has what of the card's memory; None on the CPU."""
        memory: CardMemory | None = getattr(self._method, "memory", None)
        return memory

    @property
    def notice(self) -> str:
        """Words that must go wherever the results go; may be empty."""
        return self.bundle.notice

    @property
    def accepts(self) -> Mapping[str, list[str]]:
        """What an archive's image must be, by ImageRecord field."""
        return MappingProxyType(dict(self.bundle.accepts))

    def screen(
        self, image: npt.ArrayLike | ImageSource, pixel_spacing: tuple[float, float] | None = None
    ) -> ImageResult:
        """Find masses in one image.

        Parameters
        ----------
        image: 2-D array (rows, cols), any integer or float type, brighter = denser; or an image of an archive, of which
            only what is needed is read.
        pixel_spacing: (between rows, between columns) in mm, where known; an archive's image brings its own.

        Raises
        ------
        ValueError
            When the image is not such an array.
        BrokenImage
            When it holds no image, or a network gave NaN or infinity for it.

        """
        self._check_reads(volumes=False)
        return _sound(self.screen_images([_source(image, pixel_spacing)])[0])

    def screen_volume(
        self, phases: npt.ArrayLike | VolumeSource, spacing: tuple[float, float, float] | None = None
    ) -> VolumeResult:
        """Find masses in one dynamic series.

        Parameters
        ----------
        phases: 4-D array (phases, slices, rows, cols), any integer or float type, the baseline first; or a volume of an
            archive.
        spacing: mm between slices, rows and columns, where known; an archive's volume brings its own.

        Raises
        ------
        ValueError
            When the volume is not such an array, or this bundle reads images.
        BrokenImage
            When it has not the phases that the bundle reads, or a network gave NaN or infinity for it.

        """
        self._check_reads(volumes=True)
        volume = phases if isinstance(phases, VolumeSource) else ArrayVolume(np.asarray(phases), spacing)
        result: VolumeResult = self._run([volume])[0]
        return _sound(result)

    def _check_reads(self, volumes: bool) -> None:
        if (self.bundle.method in OF_VOLUMES) != volumes:
            what, how = ("images", "screen") if volumes else ("volumes", "screen_volume")
            raise ValueError(f"bundle {self.bundle.name!r} reads {what}: give them to {how}()")

    def screen_batch(self, images: Iterable[npt.ArrayLike | ImageSource]) -> list[ImageResult]:
        """Screen several images, each as ``screen`` takes it; a bad one has a result whose ``error`` says why."""
        self._check_reads(volumes=False)
        results: list[ImageResult | None] = []
        sources: list[ImageSource] = []
        for image in images:
            try:
                sources.append(_source(image))
                results.append(None)
            except ImageError as error:
                results.append(ImageResult(shape=_shape(image), error=str(error)))
            except ValueError as error:
                results.append(ImageResult(shape=_shape(image), error=f"{Reason.BAD_ARRAY}: {error}"))
            except Exception as error:  # whatever a caller's object does when it is asked for its values
                words = f"{Reason.BAD_ARRAY}: image: cannot be read as an array ({type(error).__name__})"
                results.append(ImageResult(shape=_shape(image), error=words))
        screened = iter(self.screen_images(sources))
        return [next(screened) if result is None else result for result in results]

    def screen_images(self, images: Sequence[ImageSource]) -> list[ImageResult]:
        """Screen images of any source, an archive's for one, as ``screen_batch`` does; volumes where it reads these."""
        return self._run(images)

    def _run(self, units: Sequence[Any]) -> list[Any]:
        if self._method is None:
            raise EngineError("this screener is closed; open the bundle again")
        return self._method.screen(units)

    def close(self) -> None:
        """Give the networks' memory back; closing twice is allowed."""
        method, self._method = self._method, None
        if isinstance(method, OnDevice):
            method.close()
        for engine in self._engines.values():
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_bundle(bundle: str | Path, device: str = "auto", settings: Settings | None = None) -> Screener:
    """Check a bundle, load its networks and return what screens with them.

    Parameters
    ----------
    bundle: a folder, or "demo" or "demo-mri" for one that comes with mammofast.
    device: "auto", "cpu", "cuda" or "cuda:i". "auto" is the device that the bundle was compiled for.
    settings: how networks are run; by default one by one on the CPU, in batches of eight on a card.

    Raises
    ------
    BundleError
        When the bundle is incomplete, changed or malformed.
    EngineError
        When its backend is missing or refuses a network, it was compiled for another device or another version of its
        backend, or a network that is not verified yet goes beyond its parity budget.

    """
    opened = load_bundle(bundle)
    return Screener(opened, settings or Settings.on(device_of(opened)), device)


_Result = TypeVar("_Result", ImageResult, VolumeResult)


def _sound(result: _Result) -> _Result:
    """Return a result, or raise its error."""
    if result.error is not None:
        reason, _, detail = result.error.partition(": ")
        raise BrokenImage(Reason(reason), detail)
    return result


def _source(image: npt.ArrayLike | ImageSource, pixel_spacing: tuple[float, float] | None = None) -> ImageSource:
    return image if isinstance(image, ImageSource) else array_image(image, pixel_spacing)


def _shape(image: object) -> tuple[int, int]:
    return (image.shape[0], image.shape[1]) if isinstance(image, np.ndarray) and image.ndim == 2 else (0, 0)
