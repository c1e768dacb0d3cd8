"""How the archive lies on disk: plain Zarr v3, written and read by tensorstore.

ARCHIVE/zarr.json                          group; attributes: format, archive_id
ARCHIVE/images/STUDY_UID/SOP_UID/zarr.json group; attributes: the ImageRecord
                                 0 1 2 …   arrays: native stored values, and the coarse levels; one shard each
                                 header    array: the data set without its pixels, a DICOM Part 10 file as bytes
ARCHIVE/volumes/STUDY_UID/CONTENT_SHA256/zarr.json
                                           group; attributes: the VolumeRecord
                                 0         array: (phases, slices, rows, cols), stored values; a shard for each phase
                                 header    array: the first object's data set without its pixels, as above
                                 headers   array: all objects', one after the other
                                 frames    array: which object and frame each slice is, as JSON, see volumes/store.py
ARCHIVE/waiting/STUDY_UID/SHA256.dcm       MR objects that make no volume yet, as they came
ARCHIVE/skipped/KEY/zarr.json              group; attributes: the SkippedRecord of a file not kept
ARCHIVE/duplicates/SHA256/zarr.json        group; attributes: which image that file, by its hash, is another copy of

Chunks are 512 x 512, or a slice, compressed with blosc (zstd 5, bitshuffle): of the codecs every Zarr reader has, the
smallest that still decodes at 2 GB/s. Each chunk and each shard's index ends with its crc32c, so that flipped bits are
an error, not pixels. Fill value is the image's background, so that a chunk of nothing but background is unwritten;
every array still has its shards, so that a lost one is an error, not background.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from mammofast.archive.regular import read_regular
from mammofast.errors import ArchiveError
from mammofast.objects import ObjectPath
from mammofast.records import Window

FORMAT = 1
CHUNK = 512
# Screening's scales lie between these: of a 4096 x 3328 image, levels 1 to 3.
_LONGEST_STORED_SIDE = 2048
_ENOUGH = 512
_NAME = re.compile(r"[0-9a-f][0-9a-f.]*")

Pixels = npt.NDArray[np.generic]


def coarse_levels(rows: int, cols: int) -> tuple[int, ...]:
    """Return which levels beside the native one are stored: longer side <= 2048, down to the first <= 512."""
    side, level, stored = max(rows, cols), 0, []
    while side > _ENOUGH:
        side, level = -(-side // 2), level + 1
        if side <= _LONGEST_STORED_SIDE:
            stored.append(level)
    return tuple(stored)


def content_sha256(pixels: Pixels, bits_stored: int, photometric: str) -> str:
    r"""Return the hash (hex) that identifies an image's content.

    It is over one line of ASCII, ``mammofast-content-1 DTYPE ROWS COLS BITS_STORED PHOTOMETRIC\n`` (say ``uint16 4096
    3328 12 MONOCHROME2``), followed by the stored values, row by row, little-endian.
    """
    rows, cols = pixels.shape
    line = f"mammofast-content-1 {pixels.dtype.name} {rows} {cols} {bits_stored} {photometric}\n"
    digest = hashlib.sha256(line.encode("ascii"))
    digest.update(np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def write_group(folder: Path, attributes: dict[str, Any] | None = None) -> None:
    """Make a folder a Zarr group; ``attributes`` are kept under "mammofast"."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zarr.json").write_text(group_text(attributes))


def group_text(attributes: dict[str, Any] | None = None) -> str:
    """Return a group's zarr.json."""
    own = {} if attributes is None else {"mammofast": attributes}
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": own}, indent=2, sort_keys=True) + "\n"


def read_group(folder: Path) -> dict[str, Any]:
    """Return a group's attributes.

    Raises
    ------
    FileNotFoundError
        When there is no group.
    ArchiveError
        When it is not one that mammofast wrote.

    """
    try:
        attributes = json.loads(read_regular(folder / "zarr.json"))["attributes"]["mammofast"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArchiveError("a zarr.json of the archive is damaged; run `mammofast archive verify`") from None
    if not isinstance(attributes, dict):
        raise ArchiveError("a zarr.json of the archive is damaged; run `mammofast archive verify`")
    return attributes


def folders(folder: Path) -> list[Path]:
    """Return the folders in a folder named by a UID or a hash, by name; none where it is not there."""
    return sorted(unsorted_folders(folder))


def unsorted_folders(folder: Path) -> Iterator[Path]:
    """Yield the same as the file system has them: there may be millions."""
    try:
        if isinstance(folder, ObjectPath):
            yield from (path for path in folder.iterdir() if _NAME.fullmatch(path.name))
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                # Network storage puts folders of its own everywhere.
                if _NAME.fullmatch(entry.name) and entry.is_dir():
                    yield folder / entry.name
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArchiveError(f"a folder of the archive cannot be read ({error.strerror})") from None


def write_image(folder: Path, pixels: Pixels, background: int) -> None:
    """Write a level, whole: one shard, which is never written again."""
    shard = [-(-side // CHUNK) * CHUNK for side in pixels.shape]
    # A coarse level may be nothing but background: then its chunks are written all the same.
    empty = bool((pixels == background).all())
    _write(folder, pixels, shard, _sharded([CHUNK, CHUNK], pixels.dtype), background, empty)


def write_volume(folder: Path, shape: Sequence[int], dtype: np.dtype[Any], phases: Iterable[Pixels]) -> None:
    """Write a volume (phases, slices, rows, cols), phase by phase: a shard each, of one chunk for each slice."""
    _, slices, rows, cols = shape
    codecs = _sharded([1, 1, rows, cols], dtype)
    array = _create(folder, shape, dtype, [1, slices, rows, cols], codecs, 0, write_fill=True)
    for number, pixels in enumerate(phases):
        array[number].write(pixels).result()


def write_bytes(folder: Path, data: bytes) -> None:
    """Write bytes as a 1-D array of uint8."""
    values = np.frombuffer(data, np.uint8)
    codecs = [_bytes(values.dtype), {"name": "zstd", "configuration": {"level": 5, "checksum": True}}]
    _write(folder, values, [len(values)], codecs, 0)


def read(folder: Path, window: Window | None = None, expected: dict[str, Any] | None = None) -> Pixels:
    """Read an array, or the chunks a window (x_min, y_min, x_max, y_max) touches.

    ``expected``: what the array's zarr.json must say of it, such as its shape, data_type and fill_value.

    Raises
    ------
    OSError, ValueError
        When it is missing or damaged, or says otherwise.

    """
    array = _open(folder, expected)
    if not folder.joinpath("c", *("0" for _ in array.shape)).is_file():
        # To Zarr it would be an array of nothing but fill value.
        raise FileNotFoundError("the shard is missing")
    if window is not None:
        x_min, y_min, x_max, y_max = window
        array = array[y_min:y_max, x_min:x_max]
    values: Pixels = array.read().result()
    return values


def read_slices(folder: Path, phase: int, first: int, last: int, expected: dict[str, Any]) -> Pixels:
    """Read slices ``first`` to ``last``, half-open, of a phase of a volume; only these. Raises as ``read``."""
    array = _open(folder, expected)
    if not (folder / "c" / str(phase) / "0" / "0" / "0").is_file():
        raise FileNotFoundError("the shard is missing")
    values: Pixels = array[phase, first:last].read().result()
    return values


def _open(folder: Path, expected: dict[str, Any] | None) -> Any:
    if not (isinstance(folder, ObjectPath) or (folder / "zarr.json").is_file()):  # tensorstore would wait for a pipe
        raise FileNotFoundError("the array's zarr.json is missing")
    spec = {"driver": "zarr3", "kvstore": _file(folder), "metadata": expected or {}}
    return ts.open(spec, read=True, open=True).result()


def _sharded(chunk: list[int], dtype: np.dtype[Any]) -> list[dict[str, Any]]:
    blosc = {"cname": "zstd", "clevel": 5, "shuffle": "bitshuffle", "typesize": dtype.itemsize, "blocksize": 0}
    sharding = {
        "chunk_shape": chunk,
        "codecs": [_bytes(dtype), {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}],
        "index_codecs": [_bytes(np.dtype("uint64")), {"name": "crc32c"}],
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": sharding}]


def _write(
    folder: Path, values: Pixels, shard: list[int], codecs: list[dict[str, Any]], fill: int, write_fill: bool = False
) -> None:
    _create(folder, values.shape, values.dtype, shard, codecs, fill, write_fill).write(values).result()


def _create(
    folder: Path,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    shard: list[int],
    codecs: list[dict[str, Any]],
    fill: int,
    write_fill: bool,
) -> Any:
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": fill,
        "codecs": codecs,
    }
    spec = {
        "driver": "zarr3",
        "kvstore": _file(folder),
        "metadata": metadata,
        "store_data_equal_to_fill_value": write_fill,
    }
    return ts.open(spec, create=True).result()


def _file(folder: Path) -> dict[str, Any]:
    if isinstance(folder, ObjectPath):
        return folder.kvstore()
    # Whoever writes syncs the whole image at once, before it is published (see writer.py).
    return {"driver": "file", "path": f"{folder}/", "file_io_sync": False}


def _bytes(dtype: np.dtype[Any]) -> dict[str, Any]:
    if dtype.itemsize == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}
