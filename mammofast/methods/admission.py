"""What images may hold of a card's memory, and of the host's that the card can read, while they are worked on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.engine.lanes import Lanes
from mammofast.errors import EngineError
from mammofast.pipeline import Budget, Hold, Pool
from mammofast.records import ImageSource

# The widest that pixels go to a card: float32. An archive's are mostly half of that.
PIXEL_BYTES = 4
# Of the card's memory that engines leave free, the part that images may take. The rest is for what works on them:
# kernels' scratch memory grows with boxes, not with pixels.
IMAGES_SHARE = 0.5
# No process pins more: pinned memory is lost to all others.
MOST_PINNED = 512 << 20

Pixels = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class CardMemory:
    """Who has what, in bytes.

    engines: weights, activations, inputs and outputs. images: what images may hold together. pinned_buffers: how many
    images may be read, or wait to be uploaded, at a time, each of at most pinned_bytes. pageable: why uploads are
    slower, from memory that is not pinned; None where they are not.
    """

    engines: int
    images: int
    pinned_buffers: int
    pinned_bytes: int
    pageable: str | None = None

    def __str__(self) -> str:
        mib = 1 << 20
        text = f"{self.engines // mib} MiB for networks, {self.images // mib} MiB for images"
        if self.pageable is not None:
            return f"{text}; uploads are from pageable memory: {self.pageable}"
        return f"{text}; {self.pinned_buffers} pinned buffers of {self.pinned_bytes / mib:.1f} MiB"


@dataclass(frozen=True, slots=True)
class Admitted:
    """An image that may be worked on, and the pinned memory that it has meanwhile."""

    image: ImageSource
    buffer: npt.NDArray[np.uint8] | None = None

    def placed(self, pixels: Pixels) -> Pixels:
        """Return pixels where the card reads them fastest: in pinned memory, where they fit."""
        if self.buffer is None or pixels.nbytes > self.buffer.nbytes:
            return pixels
        there: Pixels = self.buffer[: pixels.nbytes].view(pixels.dtype).reshape(pixels.shape)
        np.copyto(there, pixels)
        return there


class Admission:
    """Lets images in as far as their card has room for them.

    networks: all that work on the card, with all that they will take. buffers, buffer_bytes: pinned memory that is
    wanted. until: the name of the stage that uploads from it. pixel_bytes: what an image holds of the card at most, for
    each of its native pixels.
    """

    def __init__(
        self,
        networks: Sequence[Lanes],
        buffers: int,
        buffer_bytes: int,
        until: str,
        pixel_bytes: int = PIXEL_BYTES,
    ) -> None:
        engine = networks[0].engines[0]
        held = sum(lanes.nbytes for lanes in networks)
        self._pixel_bytes = pixel_bytes
        self._budget = Budget(int(engine.free_memory() * IMAGES_SHARE))
        self.holds = [Hold(self._budget, self._amount)]
        pageable = None
        made: list[Any] = []
        try:
            while len(made) < buffers and (len(made) + 1) * buffer_bytes <= MOST_PINNED:
                made.append(engine.pinned(buffer_bytes))
        except EngineError as error:
            pageable = None if made else str(error)
        if made:
            self.holds.append(Hold(Pool(made), until=until))
        elif pageable is None:
            pageable = f"a buffer would have {buffer_bytes} bytes, more than may be pinned"
        self.memory = CardMemory(held, self._budget.total, len(made), buffer_bytes, pageable)

    def enter(self, image: Any, held: Sequence[Any]) -> Admitted:
        """Return an image with what it holds."""
        return Admitted(image, *held[1:])

    def _amount(self, image: ImageSource) -> int:
        """Return the most that an image takes of the card: one that needs all of it enters, alone."""
        rows, cols = image.shape
        return min(rows * cols * self._pixel_bytes, self._budget.total)
