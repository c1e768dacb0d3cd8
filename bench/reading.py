"""Bytes that screening reads of an archive, beside the compressed bytes of the native images it holds.

python -m bench.reading DATA --studies 25 --json bench/results/reading.json
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import harness
from bench.phantoms import write_phantoms
from mammofast.archive import ArchiveImage, layout, open_archive
from mammofast.archive.ingest import ingest
from mammofast.methods.screener import open_bundle
from mammofast.records import GreyPipeline, GreyTable, Window
from mammofast.screening.trace import bytes_read

WANTED = (0.0, 0.4, 1.0, 2.0)
# An entry of a shard's index: offset and length, uint64 each; a CRC32C follows the last (Zarr v3, sharding_indexed).
ENTRY, CHECKSUM = 16, 4
NOTES = (
    "Bytes are counted by tensorstore where it reads files, in the process that screens; a chunk read twice counts "
    "twice. Metadata, indexes and headers are in it.",
    "An image's native bytes are the files of its level 0.",
    "What is read of level 0 is checked against the shards' indexes: no chunk that no candidate's window touches.",
    "0, 1 and 2 candidates: images with exactly that many. 0.4: the images without and those with candidates, weighted "
    "so that the mean is 0.4.",
)


@dataclass
class Counted:
    """An archive's image that knows what was read of it."""

    image: ArchiveImage
    windows: list[Window] = field(default_factory=list)
    bytes_read: Counter[str] = field(default_factory=Counter)

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        return self.image.pixel_spacing

    def read(self, level: int = 0, window: Window | None = None) -> npt.NDArray[Any]:
        if level == 0:
            self.windows.append(window or (0, 0, self.shape[1], self.shape[0]))
        before = bytes_read()
        pixels = self.image.read(level, window)
        self.bytes_read["coarse" if level else "native"] += bytes_read() - before
        return pixels

    def grey_table(self, pipeline: GreyPipeline) -> GreyTable:
        before = bytes_read()
        table = self.image.grey_table(pipeline)
        self.bytes_read["header"] += bytes_read() - before
        return table

    @property
    def native_bytes(self) -> int:
        return sum(path.stat().st_size for path in (self.image.folder / "0").rglob("*") if path.is_file())

    def check(self) -> None:
        """Raise when more of level 0 was read than the windows' chunks, and an index and zarr.json a window."""
        rows, cols = (-(-side // layout.CHUNK) for side in self.shape)
        (shard,) = (
            path for path in (self.image.folder / "0").rglob("*") if path.is_file() and path.name != "zarr.json"
        )
        index = np.frombuffer(shard.read_bytes()[-(ENTRY * rows * cols + CHECKSUM) : -CHECKSUM], "<u8")
        length = np.where(index == np.iinfo(np.uint64).max, 0, index).reshape(rows, cols, 2)[:, :, 1]
        metadata = (self.image.folder / "0" / "zarr.json").stat().st_size
        allowed = 0
        for x_min, y_min, x_max, y_max in self.windows:
            touched = length[
                y_min // layout.CHUNK : -(-y_max // layout.CHUNK), x_min // layout.CHUNK : -(-x_max // layout.CHUNK)
            ]
            allowed += int(touched.sum()) + ENTRY * rows * cols + CHECKSUM + metadata
        assert self.bytes_read["native"] <= allowed, (self.bytes_read["native"], allowed)


def screen(archive: Path, bundle: str) -> list[Counted]:
    """Screen an archive in this process, as its workers do, and count."""
    images = [Counted(image) for image in open_archive(archive).images()]
    with open_bundle(bundle) as screener:
        for image in images:
            result = screener.screen_images([image])[0]
            assert result.error is None, result.error
            image.check()
    return images


def summary(images: Iterable[Counted]) -> dict[str, Any]:
    """Return part of the native bytes read, by candidates an image, and what the bytes were."""
    by_candidates: dict[int, list[Counted]] = defaultdict(list)
    for image in images:
        by_candidates[len(image.windows)].append(image)
    return {
        "images_by_candidates": {str(count): len(found) for count, found in sorted(by_candidates.items())},
        "part_of_native_bytes": {str(wanted): _part(by_candidates, wanted) for wanted in WANTED},
    }


def _part(by_candidates: dict[int, list[Counted]], wanted: float) -> dict[str, float] | None:
    if wanted.is_integer():
        return _parts([(1.0, by_candidates[int(wanted)])]) if by_candidates.get(int(wanted)) else None
    some = [image for count, found in by_candidates.items() if count for image in found]
    if not some or not by_candidates[0]:
        return None
    weight = wanted / np.mean([len(image.windows) for image in some])
    return _parts([(1 - weight, by_candidates[0]), (weight, some)])


def _parts(weighted: list[tuple[float, list[Counted]]]) -> dict[str, float]:
    def mean(value: Any) -> float:
        return float(sum(weight * np.mean([value(image) for image in found]) for weight, found in weighted))

    native = mean(lambda image: image.native_bytes)
    parts = {name: mean(lambda image, n=name: image.bytes_read[n]) / native for name in ("coarse", "native", "header")}
    return {"all": sum(parts.values()), **parts}


if __name__ == "__main__":
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--studies", {"type": int, "default": 25}),
            ("--bundle", {"default": "demo"}),
        ],
    )
    store = arguments.data / f"reading-{arguments.studies}.zarr"
    ingest(write_phantoms(arguments.data, arguments.studies), store)
    counted = screen(store, arguments.bundle)
    sizes = sorted({image.shape for image in counted}, reverse=True)
    groups = {f"{rows} x {cols}": [i for i in counted if i.shape == (rows, cols)] for rows, cols in sizes}
    cases = [
        {
            "case": f"bytes read while screening, {name}",
            "reason": "screening an archive must cost little where it lies on slow or shared disks",
            **summary(images),
        }
        for name, images in {"phantoms of all four formats": counted, **groups}.items()
    ]
    for case in cases:
        print(json.dumps(case, indent=1))
    harness.write(arguments.json, cases, ("numpy", "onnxruntime", "tensorstore"), NOTES)
