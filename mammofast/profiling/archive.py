"""``mammofast bench archive``: decoding, keeping and reading images, beside other ways of doing each."""

import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts
from pydicom.pixels import get_decoder

from mammofast import ops
from mammofast.archive import layout
from mammofast.archive.codecs import FrameFormat, decode_frame
from mammofast.phantom.encode import SYNTAXES, Syntax
from mammofast.phantom.studies import make_image
from mammofast.profiling.contest import OURS, contest
from mammofast.profiling.record import Case
from mammofast.profiling.sampling import Call, Effort

Pixels = npt.NDArray[np.generic]
PACKAGES = ("imagecodecs", "numpy", "pydicom", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "tensorstore", "zarr")
NOTES = (
    "A phantom mammogram; files lie in the page cache, nothing is synced to the disk, one image after the other.",
    "tensorstore reads and writes a level's chunks on all cores; decoders run on one.",
)
# (chunk, blosc's compressor, its level, its shuffle): the archive's first, then what else it could be.
_LAYOUTS = (
    (256, "zstd", 5, "bitshuffle"),
    (1024, "zstd", 5, "bitshuffle"),
    (layout.CHUNK, "zstd", 5, "shuffle"),
    (layout.CHUNK, "lz4", 5, "bitshuffle"),
    (layout.CHUNK, "zstd", 1, "bitshuffle"),
)
_WINDOW = 600  # pixels: a candidate's window, wider than a chunk


def archive_cases(effort: Effort, pixels: Pixels | None = None) -> Iterator[Case]:
    """Yield a case for each transfer syntax, and for writing and reading an image in each layout.

    pixels: uint16 (rows, cols) to do it with; a phantom mammogram where there are none.
    """
    pixels = make_image(20_260)[0] if pixels is None else pixels
    bits = max(8, int(pixels.max()).bit_length())
    for syntax in SYNTAXES:
        yield _decoding(syntax, pixels, bits, effort)
    with tempfile.TemporaryDirectory(prefix="mammofast-") as scratch:
        yield from _keeping(pixels, Path(scratch), effort)


def _decoding(syntax: Syntax, pixels: Pixels, bits: int, effort: Effort) -> Case:
    """Time our decoder beside the one that pydicom takes by itself."""
    rows, cols = pixels.shape
    words = np.asarray(pixels, np.uint16)
    frame = FrameFormat(rows, cols, 16, 16 if syntax.whole_words else bits, signed=False)
    data = words.astype("<u2").tobytes() if syntax.encode is None else syntax.encode(words, bits)
    ways: dict[str, Call] = {OURS: partial(decode_frame, data, syntax.uid, frame)}
    peer = get_decoder(syntax.uid)
    if syntax.encode is not None and peer.is_available:
        options = {
            "rows": rows,
            "columns": cols,
            "samples_per_pixel": 1,
            "photometric_interpretation": "MONOCHROME2",
            "pixel_representation": 0,
            "bits_allocated": 16,
            "bits_stored": frame.bits_stored,
            "number_of_frames": 1,
            "pixel_keyword": "PixelData",
        }
        encapsulated = _encapsulated(data)
        ways[f"pydicom ({peer.available_plugins[0]})"] = lambda: peer.as_array(
            encapsulated, decoding_plugin=peer.available_plugins[0], **options
        )[0]
    return contest(
        f"decode, {syntax.uid.name}",
        "the slowest step of a night, once for each image",
        ways,
        effort,
        agree=np.array_equal,
        unit="images",
        facts={"rows": rows, "cols": cols, "bytes_per_pixel": len(data) / pixels.size},
    )


def _encapsulated(data: bytes) -> bytes:
    from pydicom.encaps import encapsulate

    encapsulated: bytes = encapsulate([data])
    return encapsulated


def _keeping(pixels: Pixels, scratch: Path, effort: Effort) -> Iterator[Case]:
    background = int(np.bincount(pixels[0].astype(np.int64)).argmax())
    ours, raw = scratch / "ours", scratch / "raw.npy"
    layout.write_image(ours, pixels, background)
    np.save(raw, pixels)
    others = {_name(*each): scratch / str(i) for i, each in enumerate(_LAYOUTS)}
    for folder, each in zip(others.values(), _LAYOUTS, strict=True):
        _write_as(folder, pixels, _metadata(ours, *each))
    facts = {
        "rows": pixels.shape[0],
        "cols": pixels.shape[1],
        "bytes_per_pixel": {
            OURS: _size(ours) / pixels.size,
            **{name: _size(folder) / pixels.size for name, folder in others.items()},
            "raw": pixels.itemsize,
        },
    }
    numbers = iter(range(1_000_000))
    writers: dict[str, Call] = {OURS: lambda: layout.write_image(scratch / f"w{next(numbers)}", pixels, background)}
    for name, each in zip(others, _LAYOUTS, strict=True):
        metadata = _metadata(ours, *each)
        writers[name] = partial(_write_new, scratch, numbers, pixels, metadata)
    writers["raw file"] = lambda: np.save(scratch / "again.npy", pixels)
    yield contest(
        "write an image",
        "ingest does it once for each image, and its coarse levels",
        writers,
        Effort(0, min(effort.seconds, 2), effort.at_least),  # every write takes room on the disk
        agree=lambda _a, _b: True,
        unit="images",
        facts=facts,
    )
    for folder in scratch.glob("w*"):
        _remove(folder)

    readers: dict[str, Call] = {OURS: partial(layout.read, ours)}
    readers |= {name: partial(layout.read, folder) for name, folder in others.items()}
    readers["raw file, mapped"] = lambda: np.array(np.load(raw, mmap_mode="r"))
    if find_spec("zarr"):
        readers["zarr-python, the same files"] = partial(_zarr_python, ours)
    yield contest(
        "read an image",
        "whole-image methods and viewers; the limit is a copy of the raw file",
        readers,
        effort,
        agree=np.array_equal,
        unit="images",
        facts=facts,
    )

    x, y = (min(side // 2, side - _WINDOW) for side in pixels.shape[::-1])
    window = (x, y, x + _WINDOW, y + _WINDOW)
    readers = {OURS: partial(layout.read, ours, window)}
    readers |= {name: partial(layout.read, folder, window) for name, folder in others.items()}
    readers["raw file, mapped"] = lambda: np.array(np.load(raw, mmap_mode="r")[y : y + _WINDOW, x : x + _WINDOW])
    yield contest(
        f"read a window of {_WINDOW} × {_WINDOW}",
        "segmentation does it for each candidate",
        readers,
        effort,
        agree=np.array_equal,
        unit="windows",
        facts=facts,
    )
    yield contest(
        "coarse levels of an image",
        "ingest makes them from the native pixels",
        {OURS: partial(ops.pool, pixels, layout.coarse_levels(*pixels.shape))},
        effort,
        agree=lambda _a, _b: True,
        unit="images",
    )


def _name(chunk: int, compressor: str, level: int, shuffle: str) -> str:
    return f"chunks of {chunk}, {compressor} {level}, {shuffle}"


def _metadata(ours: Path, chunk: int, compressor: str, level: int, shuffle: str) -> dict[str, Any]:
    """Return the archive's own metadata with another chunk and compressor."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{ours}/"}}
    metadata: dict[str, Any] = ts.open(spec, open=True).result().spec().to_json()["metadata"]
    metadata.pop("chunk_grid")
    shard = [-(-side // chunk) * chunk for side in metadata["shape"]]
    metadata["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": shard}}
    sharding = metadata["codecs"][0]["configuration"]
    sharding["chunk_shape"] = [chunk, chunk]
    for codec in sharding["codecs"]:
        if codec["name"] == "blosc":
            codec["configuration"] |= {"cname": compressor, "clevel": level, "shuffle": shuffle}
    return metadata


def _write_new(scratch: Path, numbers: Iterator[int], pixels: Pixels, metadata: dict[str, Any]) -> None:
    _write_as(scratch / f"w{next(numbers)}", pixels, metadata)


def _write_as(folder: Path, pixels: Pixels, metadata: dict[str, Any]) -> None:
    kvstore = {"driver": "file", "path": f"{folder}/", "file_io_sync": False}
    ts.open({"driver": "zarr3", "kvstore": kvstore, "metadata": metadata}, create=True).result().write(pixels).result()


def _zarr_python(folder: Path) -> Pixels:
    import zarr

    array = zarr.open_array(folder, mode="r")
    return np.asarray(array[:])


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)
