"""How networks are run: the part of a result's identity that is neither the image nor the bundle."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass

# What a card is kept busy with, and what engines are compiled for unless told otherwise.
CARD_BATCH = 8
# What users call a device: "cuda" is the first card, or all of them where several can be used.
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a bundle's networks are run, as far as that can change a bit of a result on one installation.

    Networks run at fixed batch sizes, short batches padded with zeros: then the same image gives the same bytes,
    whatever it shared a batch with.

    device: "cpu" or "cuda", without an index, since cards of a kind agree. What runs the networks, and in which
    precision, is the bundle's.
    detection_batch: images in one run of a detector. segmentation_batch: candidates, whole images or tiles in one of a
    segmenter. A batch gains a CPU nothing but would have a lone image pay for padding, hence one of each.
    """

    device: str = "cpu"
    detection_batch: int = 1
    segmentation_batch: int = 1

    def __post_init__(self) -> None:
        for name in ("detection_batch", "segmentation_batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: got {value!r}, expected an integer >= 1")

    @classmethod
    def on(cls, device: str) -> "Settings":
        """Return how networks are run on "cpu" or "cuda" unless told otherwise: in batches on a card."""
        return cls() if device == "cpu" else cls("cuda", CARD_BATCH, CARD_BATCH)

    def as_dict(self) -> dict[str, str | int]:
        """Return the settings as JSON-ready values."""
        return asdict(self)

    @property
    def id(self) -> str:
        """SHA-256 (hex) of the settings in canonical JSON."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
