"""``mammofast bench archive``: decoding, keeping and reading images, beside other ways of doing each."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts
from pydicom.pixels import get_decoder

from mammofast.archive import layout
from mammofast.archive.codecs import FrameFormat, decode_frame
from mammofast.phantom.encode import SYNTAXES, Syntax
from mammofast.phantom.studies import make_image
from mammofast.profiling.contest import OURS, Contest, Way
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
    others = {}
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
        plugin = peer.available_plugins[0]
        others[f"pydicom ({plugin})"] = Way(
            lambda: peer.as_array(encapsulated, decoding_plugin=plugin, **options)[0], np.array_equal
        )
    return Contest(
        f"decode, {syntax.uid.name}",
        "the slowest step of a night, once for each image",
        partial(decode_frame, data, syntax.uid, frame),
        others,
        unit="images",
        facts={"rows": rows, "cols": cols, "bytes_per_pixel": len(data) / pixels.size},
    ).measure(effort)


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
    yield _writing(pixels, background, scratch, [_metadata(ours, *each) for each in _LAYOUTS], facts).measure(
        replace(effort, warm_up=0, seconds=min(effort.seconds, 2))  # every write takes room on the disk
    )
    for folder in scratch.glob("w*"):
        shutil.rmtree(folder)

    zarr = {"zarr-python, the same files": partial(_zarr_python, ours)} if find_spec("zarr") else {}
    yield _reading(
        "read an image",
        "whole-image methods and viewers; the limit is a copy of the raw file",
        partial(layout.read, ours),
        {name: partial(layout.read, folder) for name, folder in others.items()}
        | {"raw file, mapped": lambda: np.array(np.load(raw, mmap_mode="r"))}
        | zarr,
        facts,
    ).measure(effort)

    side = min(_WINDOW, *pixels.shape)
    x, y = (min(length // 2, length - side) for length in pixels.shape[::-1])
    window = (x, y, x + side, y + side)
    yield _reading(
        f"read a window of {side} × {side}",
        "segmentation does it for each candidate",
        partial(layout.read, ours, window),
        {name: partial(layout.read, folder, window) for name, folder in others.items()}
        | {"raw file, mapped": lambda: np.array(np.load(raw, mmap_mode="r")[y : y + side, x : x + side])},
        facts,
    ).measure(effort)


def _writing(
    pixels: Pixels, background: int, scratch: Path, layouts: Sequence[dict[str, Any]], facts: Mapping[str, Any]
) -> Contest:
    """Return our writer beside the same in other layouts; all are read back when they are checked."""
    fresh = (scratch / f"w{number}" for number in count())

    def is_kept(_ours: Path, folder: Path) -> bool:
        return np.array_equal(layout.read(folder), pixels)

    def ours() -> Path:
        folder = next(fresh)
        layout.write_image(folder, pixels, background)
        return folder

    def other(metadata: dict[str, Any]) -> Path:
        folder = next(fresh)
        _write_as(folder, pixels, metadata)
        return folder

    def raw() -> Path:
        np.save(scratch / "again.npy", pixels)
        return scratch / "again.npy"

    others = {_name(*each): Way(partial(other, spec), is_kept) for each, spec in zip(_LAYOUTS, layouts, strict=True)}
    others["raw file"] = Way(raw, lambda _ours, path: np.array_equal(np.load(path), pixels))
    return Contest(
        "write an image",
        "ingest does it once for each image, and its coarse levels",
        ours,
        others,
        unit="images",
        facts=facts,
    )


def _reading(name: str, reason: str, ours: Call, others: Mapping[str, Call], facts: Mapping[str, Any]) -> Contest:
    ways = {other: Way(call, np.array_equal) for other, call in others.items()}
    return Contest(name, reason, ours, ways, unit="reads", facts=facts)


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


def _write_as(folder: Path, pixels: Pixels, metadata: dict[str, Any]) -> None:
    kvstore = {"driver": "file", "path": f"{folder}/", "file_io_sync": False}
    ts.open({"driver": "zarr3", "kvstore": kvstore, "metadata": metadata}, create=True).result().write(pixels).result()


def _zarr_python(folder: Path) -> Pixels:
    import zarr

    array = zarr.open_array(folder, mode="r")
    return np.asarray(array[:])


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
