"""What ``mammofast doctor`` says of the machine itself: cores, memory, disks, codecs, the clock."""

import ctypes
import os
import resource
import shutil
import struct
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from mammofast.machine import available_memory, core_quota, cores, memory_bytes, memory_limit

_GIB = 2**30
# What a worker of the demo's size holds, and Dask's around it.
_WORKER_GIB = 0.5
# A night writes its results and logs; an archive takes some 5 MB an image.
_SCARCE_GIB = 5.0
# Sockets of a worker, its nanny and the client, and the files that it reads.
_FILES_A_WORKER = 40
_STA_UNSYNC = 0x40


def machine_facts() -> dict[str, object]:
    """Return facts by name; what is missing or scarce begins with "not"."""
    return {
        "cores": _cores(),
        "memory": _memory(),
        "disk, this folder": _disk(Path()),
        "disk, temporary": _disk(Path(tempfile.gettempdir())),
        "open files": _open_files(),
        "clock": _clock(),
        "codecs": _codecs(),
    }


def _cores() -> str:
    words = [str(cores())]
    there, quota = os.cpu_count() or 1, core_quota()
    if there > cores():
        words.append(f"of {there}")
    if quota is not None:
        words.append(f"(this container may use {quota:g})")
    return " ".join(words)


def _memory() -> str:
    total, limit, free = memory_bytes(), memory_limit(), available_memory()
    words = f"{free / _GIB:.1f} GiB free of {total / _GIB:.1f}"
    if limit is not None and limit < total:
        words += f"; this container may use {limit / _GIB:.1f}"
        free = min(free, limit)
    if free / _GIB < _WORKER_GIB * cores():
        return f"not enough for {cores()} workers: {words}; start fewer, `screen --workers N`"
    return words


def _disk(folder: Path) -> str:
    free = shutil.disk_usage(folder).free / _GIB
    if not os.access(folder, os.W_OK):
        return f"not writable, {free:.1f} GiB free"
    if free < _SCARCE_GIB:
        return f"not much room: {free:.1f} GiB free; an archive takes some 5 MB an image"
    return f"{free:.1f} GiB free"


def _open_files() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_A_WORKER * cores() + 100
    if soft != resource.RLIM_INFINITY and soft < wanted:
        return f"not enough for {cores()} workers: {soft}; `ulimit -n {wanted}`"
    return "no limit" if soft == resource.RLIM_INFINITY else str(soft)


def _clock() -> str:
    """Say what time --until would go by, and whether the kernel holds the clock for synchronized (adjtimex)."""
    now = datetime.now().astimezone()
    words = f"{now:%Y-%m-%d %H:%M} UTC{now:%z}"
    status = _clock_status()
    if status is None:
        return words
    if status & _STA_UNSYNC:
        return f"not synchronized: {words}; start a time service, say systemd-timesyncd: `screen --until` goes by it"
    return f"{words}, synchronized"


def _clock_status() -> int | None:
    """Return the status bits of struct timex, or None where the system does not tell."""
    buffer = (ctypes.c_byte * 256)()  # struct timex is 208 bytes; all zero asks and changes nothing
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
            return None
    except (AttributeError, OSError):
        return None
    # unsigned modes; long offset, freq, maxerror, esterror; int status.
    at = 5 * ctypes.sizeof(ctypes.c_long)
    return ctypes.c_int.from_buffer(buffer, at).value


def _codecs() -> str:
    """Decode something of each kind that the archive reads."""
    import imagecodecs
    import numpy as np

    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    ways: dict[str, Callable[[], Any]] = {
        "JPEG Lossless": lambda: imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(pixels, lossless=True)),
        "JPEG-LS": lambda: imagecodecs.jpegls_decode(imagecodecs.jpegls_encode(pixels)),
        "JPEG 2000": lambda: imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True)),
        "HTJ2K": lambda: imagecodecs.jpeg2k_decode(imagecodecs.htj2k_encode(pixels)),
        "RLE": lambda: np.frombuffer(imagecodecs.dicomrle_decode(_RLE, np.uint8, out=pixels.nbytes), np.uint8).reshape(
            pixels.shape
        ),
    }
    broken = []
    for name, decode in ways.items():
        try:
            works = np.array_equal(decode(), pixels)
        except Exception:  # a codec that is not built in says so in many ways
            works = False
        if not works:
            broken.append(name)
    if broken:
        return f"not usable: {', '.join(broken)}: pip install --force-reinstall imagecodecs"
    return ", ".join(ways)


# The 256 values from 0 on in PS3.5 annex G's RLE: one segment, at byte 64, of two literal runs.
_RLE = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x7f" + bytes(range(128)) + b"\x7f" + bytes(range(128, 256))
