"""Builds the CUDA extension as plain C++, from its own sources, with the cuda_runtime.h of this folder."""

import ctypes
import fcntl
import hashlib
import importlib.util
import re
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
BINDINGS = CSRC / "bindings/cuda"
NAME = "mammofast.ops._cuda_kernels"
FLAGS = ["-std=c++20", "-O1", "-g1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"]
SANITIZE = [
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fsanitize-sections=cuda_shared",
]
# A stack frame that outlives its function is a fiber's; Python and NumPy leak what they keep.
SANITIZER_OPTIONS = {"ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=0"}
INCLUDES = [str(HERE / "include"), pybind11.get_include(), sysconfig.get_paths()["include"]]


def sources():
    """Return what the extension is made of, and what stands in for CUDA."""
    return sorted([*CSRC.rglob("*.cu"), *BINDINGS.glob("*.cpp"), HERE / "cuda_on_host.cpp"])


def with_headers(path, seen):
    """Return the file and the files of this repository that it includes, and so on."""
    if path in seen or not path.exists():
        return seen
    seen.add(path)
    for name in re.findall(r'^ *#include [<"](.+?)[>"]', path.read_text(), re.MULTILINE):
        with_headers((path.parent / name).resolve(), seen)
        with_headers(HERE / "include" / name, seen)
    return seen


def compile_object(source, folder, flags):
    """Return the object file of a source, kept under a name that its text, its headers' and the flags decide."""
    digest = hashlib.sha256(" ".join([*flags, *INCLUDES, sys.version]).encode())
    for path in sorted(with_headers(source.resolve(), set())):
        digest.update(path.read_bytes())
    target = folder / f"{source.stem}-{digest.hexdigest()[:16]}.o"
    if not target.exists():
        includes = [word for path in INCLUDES for word in ("-I", path)]
        partial = target.with_suffix(".partial")
        command = ["g++", *flags, *includes, "-x", "c++", "-c", str(source), "-o", str(partial)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{source} does not compile as C++ for the tests' CUDA:\n{done.stderr[:8000]}"
        partial.rename(target)
    return target


def build(folder, sanitize=False, only=None, program=False):
    """Return the path of the module, or of a program of ``only`` some sources, compiling what has changed.

    Bindings are never sanitized: they take most of the time, and what they hand to kernels is looked at there.
    """
    # Of test runs beside one another one compiles, the others wait for it.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(folder, [*FLAGS, *(SANITIZE if sanitize else [])], only or sources(), program)


def _build(folder, flags, files, program):
    def compile_one(source):
        return compile_object(source, folder, FLAGS if source.parent == BINDINGS else flags)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, files))
    digest = hashlib.sha256(" ".join(path.name for path in objects).encode()).hexdigest()[:16]
    target = folder / (f"program-{digest}" if program else f"_cuda_kernels-{digest}.so")
    if not target.exists():
        partial = target.with_suffix(".partial")
        subprocess.run(
            ["g++", *flags, *([] if program else ["-shared"]), *map(str, objects), "-o", str(partial)], check=True
        )
        partial.rename(target)
    return target


def load(path):
    """Return the module at the path.

    Under another name than that of the module whose place it takes: pybind11 gives a module that a process has loaded
    once again to whoever asks for its name, whatever the file.
    """
    spec = importlib.util.spec_from_file_location(f"{__package__}.{NAME.rpartition('.')[2]}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Control:
    """What tests ask of the machine that the kernels run on."""

    def __init__(self, path):
        self._library = ctypes.CDLL(str(path))
        self._library.cuda_on_host_waits.restype = ctypes.c_long
        self._library.cuda_on_host_allocations.restype = ctypes.c_long

    def order(self, kind, seed=0):
        """Run threads and blocks forward (0), backward (1) or shuffled (2) from here on."""
        self._library.cuda_on_host_order(kind, seed)

    @property
    def waits(self):
        """How often the host has waited for a stream or the device."""
        return self._library.cuda_on_host_waits()

    def contexts(self):
        """Return the devices that a context was made on since this was asked last."""
        found = self._library.cuda_on_host_contexts()
        return {device for device in range(2) if found >> device & 1}

    @property
    def current(self):
        """The device of this thread; None where it has none."""
        device = self._library.cuda_on_host_current()
        return None if device < 0 else device

    @current.setter
    def current(self, device):
        self._library.cuda_on_host_set_current(-1 if device is None else device)

    @property
    def allocations(self):
        """How many pieces of device memory are in use once everything queued is done."""
        return self._library.cuda_on_host_allocations()
