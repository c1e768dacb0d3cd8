"""Build of the two native extensions; everything else is in pyproject.toml.

``mammofast.ops._kernels`` is C++ alone; ``mammofast.ops._cuda_kernels`` is built only where nvcc is found.

MAMMOFAST_CUDA=0                   leave CUDA out, even where nvcc is found; 1: fail where it is not
MAMMOFAST_CUDA_ARCHITECTURES=...   targets of the CUDA kernels: "80,90", or "all"
MAMMOFAST_SANITIZE=address,...     build with these sanitizers
MAMMOFAST_WERROR=1                 make warnings errors
MAMMOFAST_BUILD_JOBS=2             files to compile at a time
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

CUDA_ARCHITECTURES = ["80"]  # Ampere; its PTX serves every later device at the cost of a first-run compilation
ALL_CUDA_ARCHITECTURES = ["80", "86", "89", "90", "120"]
HEADERS = sorted(path for pattern in ("*.h", "*.cuh") for path in Path("csrc").rglob(pattern))
WERROR = os.environ.get("MAMMOFAST_WERROR") == "1"


def find_nvcc() -> str | None:
    """Return the CUDA compiler of CUDA_HOME or the path, or None where there is none or CUDA is switched off."""
    wanted, home = os.environ.get("MAMMOFAST_CUDA"), os.environ.get("CUDA_HOME")
    if wanted == "0":
        return None
    nvcc = shutil.which("nvcc", path=str(Path(home) / "bin") if home else None)
    if nvcc is None and wanted == "1":
        raise SystemExit(
            "MAMMOFAST_CUDA=1 asks for the CUDA kernels, but nvcc is neither in CUDA_HOME/bin nor on the path"
        )
    return nvcc


def cuda_home(nvcc: str) -> Path:
    """Return the toolkit's folder as nvcc itself sees it: the nvcc on the path may be a wrapper."""
    plan = subprocess.run([nvcc, "--dryrun", "any.cu"], capture_output=True, text=True, check=True).stderr  # noqa: S603
    return Path(next(line for line in plan.splitlines() if line.startswith("#$ TOP=")).removeprefix("#$ TOP="))


def cuda_architectures() -> list[str]:
    """Return the targets that the build was asked for."""
    chosen = os.environ.get("MAMMOFAST_CUDA_ARCHITECTURES")
    if chosen == "all":
        return ALL_CUDA_ARCHITECTURES
    return chosen.replace(",", " ").split() if chosen else CUDA_ARCHITECTURES


def cuda_flags() -> list[str]:
    """Return nvcc's flags: machine code for each target, PTX of the oldest for the cards between them and to come."""
    numbers = cuda_architectures()
    oldest = min(numbers, key=int)
    targets = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers]
    targets.append(f"-gencode=arch=compute_{oldest},code=compute_{oldest}")
    # -fmad=false: a contracted multiply-add would round otherwise than the CPU
    flags = ["-std=c++20", "-O3", "-fmad=false", *targets, "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra"]
    flags.append("-Xptxas=-v")  # what each kernel takes of a card, for the table in the module
    return [*flags, "-Werror=all-warnings"] if WERROR else flags


ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for 'sm_(?P<target>\d+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<spill_stores>\d+) bytes spill stores, (?P<spill_loads>\d+) bytes spill "
    r"loads.*?Used (?P<registers>\d+) registers(?:.*?(?P<shared>\d+) bytes smem)?",
    re.DOTALL,
)


def resources_of(source: Path, log: str) -> list[dict[str, str | int]]:
    """Return what ptxas says each kernel of a source takes: registers, spills, stack, static shared memory (bytes)."""
    table: list[dict[str, str | int]] = []
    for block in re.split("(?=Compiling entry function)", log):
        if found := ENTRY.match(block):
            facts = found.groupdict(default="0")
            mangled = facts.pop("kernel")
            plain = subprocess.check_output(["c++filt", mangled], text=True)  # noqa: S603, S607
            plain = re.sub(r"\([\w:]+\)(?=-?\d)", "", plain)  # (Mode)1 as a template's argument
            kernel = re.sub(r"^void |mammofast::|_GLOBAL__N_\w+::|\(anonymous namespace\)::|\(.*", "", plain).strip()
            table.append({"kernel": f"{source.parent.name}: {kernel}"} | {name: int(n) for name, n in facts.items()})
    return table


class BuildKernels(build_ext):
    """Compile an extension's .cu files with nvcc, then the rest with the C++ compiler."""

    def build_extension(self, extension: Pybind11Extension) -> None:
        """Build one extension; CUDA's run-time library is linked statically, so that importing needs no driver."""
        kernels = [Path(source) for source in extension.sources if source.endswith(".cu")]
        extension.sources = [source for source in extension.sources if not source.endswith(".cu")]
        extension.depends += map(str, kernels)
        nvcc = find_nvcc()
        if kernels and nvcc:
            home = cuda_home(nvcc)
            extension.include_dirs.append(str(home / "include"))
            extension.library_dirs += [str(home / folder) for folder in ("lib64", "lib")]
            extension.libraries += ["cudart_static", "dl", "rt", "pthread"]
            with ThreadPoolExecutor(int(os.environ.get("MAMMOFAST_BUILD_JOBS", "2"))) as pool:
                objects = list(pool.map(lambda source: self.compile_cuda(nvcc, source), kernels))
            extension.extra_objects = list(map(str, objects))
            pairs = zip(kernels, objects, strict=True)
            table = [
                row for source, path in pairs for row in resources_of(source, path.with_suffix(".log").read_text())
            ]
            header = Path(self.build_temp) / "include" / "mammofast_kernel_resources.h"
            header.parent.mkdir(parents=True, exist_ok=True)
            header.write_text("".join(f'R"json({json.dumps(row)}\n)json"\n' for row in table))
            extension.include_dirs.append(str(header.parent))
        super().build_extension(extension)

    def compile_cuda(self, nvcc: str, source: Path) -> Path:
        """Return the object file of one .cu file, compiled unless it is newer than all that it may include."""
        target = Path(self.build_temp) / "-".join(["sm", *cuda_architectures()]) / source.with_suffix(".cu.o")
        newest = max(path.stat().st_mtime for path in (source, Path("setup.py"), *HEADERS))
        if self.force or not target.exists() or target.stat().st_mtime <= newest:
            target.parent.mkdir(parents=True, exist_ok=True)
            command = [nvcc, *cuda_flags(), "-c", str(source), "-o", str(target)]
            self.announce(" ".join(command), level=2)
            done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
            said = [line for line in done.stderr.splitlines() if not re.search("ptxas info|bytes stack frame", line)]
            print("\n".join(said), end="\n" * bool(said), file=sys.stderr)
            done.check_returncode()
            target.with_suffix(".log").write_text(done.stderr)
        return target


# Contracting a * b + c or reordering sums would make results depend on the machine.
compile_flags = ["-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]
link_flags: list[str] = []
if WERROR:
    compile_flags.append("-Werror")
if sanitizers := os.environ.get("MAMMOFAST_SANITIZE"):
    compile_flags += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g", "-O1"]
    link_flags.append(f"-fsanitize={sanitizers}")


def extension(name: str, sources: list[Path], macros: list[tuple[str, str]]) -> Pybind11Extension:
    """Return an extension of these sources, built anew whenever a header changes."""
    return Pybind11Extension(
        name,
        sorted(map(str, sources)),
        depends=[str(path) for path in HEADERS],
        define_macros=macros,
        cxx_std=20,
        extra_compile_args=compile_flags,
        extra_link_args=link_flags,
    )


CUDA_BINDINGS = Path("csrc/bindings/cuda")
native = [path for path in Path("csrc").rglob("*.cpp") if path.parent != CUDA_BINDINGS]
extensions = [extension("mammofast.ops._kernels", native, [])]
if find_nvcc():
    on_cuda = [*CUDA_BINDINGS.glob("*.cpp"), *Path("csrc").rglob("*.cu")]
    targets = ",".join(cuda_architectures())
    extensions.append(extension("mammofast.ops._cuda_kernels", on_cuda, [("MAMMOFAST_CUDA_TARGETS", f'"{targets}"')]))

ParallelCompile("MAMMOFAST_BUILD_JOBS", default=2).install()
setup(ext_modules=extensions, cmdclass={"build_ext": BuildKernels})
