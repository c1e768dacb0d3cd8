"""What is simulated: a national archive, the cards that screen it, and what goes wrong there, all of it stated."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist

from mammofast.archive import Archive, ArchiveImage, ImageRecord
from mammofast.archive.layout import FORMAT, write_group

VIEWS = (("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))
# What may befall an image. A crash and a lost machine come once, whatever is screened there next; poison kills always.
SOUND, UNREADABLE, POISON, CRASH, MACHINE = "sound", "unreadable", "poison", "crash", "machine"
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Model:
    """Numbers of the simulation.

    image_ms: median of a card's time for an image, log-normal with ``spread``; an image in ``slow_every`` takes
    ``slow_s`` more, as from a disk that was asleep. A card works on ``threads`` tasks at a time, each of which then
    takes so many times as long. ``..._every``: one image in so many, 0 for none. restart_s, machine_s: until a worker
    that died, and a machine that was lost with all of its cards, is back.
    """

    cards: int = 64
    cards_a_machine: int = 8
    threads: int = 4
    image_ms: float = 40.0
    spread: float = 0.3
    slow_every: int = 2_000
    slow_s: float = 1.0
    unreadable_every: int = 1_000
    poison_every: int = 100_000
    crash_every: int = 250_000
    machine_every: int = 500_000
    restart_s: float = 20.0
    machine_s: float = 60.0

    def fate(self, content_sha256: str) -> str:
        """Return what befalls an image, by its hash."""
        draw = int(content_sha256[:12], 16) / 16**12
        for fate, every in (
            (POISON, self.poison_every),
            (CRASH, self.crash_every),
            (MACHINE, self.machine_every),
            (UNREADABLE, self.unreadable_every),
        ):
            share = 1 / every if every else 0.0
            if draw < share:
                return fate
            draw -= share
        return SOUND

    def seconds(self, content_sha256: str) -> float:
        """Return how long a card that is alone with an image takes."""
        quantile = (int(content_sha256[12:20], 16) + 0.5) / 16**8
        seconds = self.image_ms / 1000 * math.exp(self.spread * _NORMAL.inv_cdf(quantile))
        slow = self.slow_every and int(content_sha256[20:28], 16) % self.slow_every == 0
        return seconds + (self.slow_s if slow else 0.0)


class SimulatedArchive(Archive):
    """An archive whose images are made up as they are listed, four views a study; it has no pixels."""

    __slots__ = ("count",)

    count: int

    @classmethod
    def create(cls, path: Path, images: int) -> "SimulatedArchive":
        """Make the folders that an archive is known by."""
        archive = cls(path, hashlib.sha256(b"simulated").hexdigest())
        write_group(path, {"format": FORMAT, "archive_id": archive.archive_id})
        write_group(path / "images")
        object.__setattr__(archive, "count", images)
        return archive

    def all_images(self, in_order: bool = True) -> Iterator[ArchiveImage]:
        """Yield every image."""
        for number in range(self.count):
            yield self.made_up(number)

    def all_units(self) -> Iterator[ArchiveImage]:
        """Yield every image; there are no volumes."""
        yield from self.all_images()

    @staticmethod
    def content_sha256(number: int) -> str:
        """Return what tells an image's pixels, by its number."""
        return hashlib.sha256(b"pixels%d" % number).hexdigest()

    def made_up(self, number: int) -> ArchiveImage:
        """Return an image by its number."""
        study, view = divmod(number, len(VIEWS))
        study_uid = _uid(b"study", study)
        sop_uid = _uid(b"instance", number)
        laterality, name = VIEWS[view]
        content = self.content_sha256(number)
        record = ImageRecord(
            study_uid=study_uid,
            series_uid=_uid(b"series", study),
            sop_uid=sop_uid,
            laterality=laterality,
            view=name,
            rows=4096,
            cols=3328,
            dtype="uint16",
            bits_stored=12,
            photometric="MONOCHROME2",
            presentation_intent="FOR PRESENTATION",
            pixel_spacing=(0.07, 0.07),
            background=0,
            levels=(1, 2, 3),
            content_sha256=content,
            source_sha256=content[::-1],
            transfer_syntax_uid="1.2.840.10008.1.2.4.70",
        )
        return ArchiveImage(self.path, record)


@lru_cache(maxsize=8)  # a study's are asked for four times
def _uid(kind: bytes, number: int) -> str:
    return f"2.25.{int.from_bytes(hashlib.sha256(kind + b'%d' % number).digest()[:16], 'big')}"
