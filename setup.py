"""Build of the native extension; everything else is in pyproject.toml.

MAMMOFAST_CUDA=0                   leave CUDA out, even where nvcc is found
MAMMOFAST_CUDA_ARCHITECTURES=...   targets of the CUDA kernels: "80,90", or "all"
MAMMOFAST_SANITIZE=address,...     build with these sanitizers
MAMMOFAST_WERROR=1                 make warnings errors
MAMMOFAST_BUILD_JOBS=2             files to compile at a time
"""

import os
import shutil
import subprocess
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

CUDA_ARCHITECTURES = ["80"]  # Ampere; its PTX serves every later device at the cost of a first-run compilation
ALL_CUDA_ARCHITECTURES = ["80", "86", "89", "90", "120"]


def find_nvcc() -> str | None:
    """Return the CUDA compiler, or None where there is none or CUDA is switched off."""
    if os.environ.get("MAMMOFAST_CUDA") == "0":
        return None
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc", path=str(Path(home) / "bin") if home else None)


def cuda_home(nvcc: str) -> Path:
    """Return the toolkit's folder as nvcc itself sees it: the nvcc on the path may be a wrapper."""
    plan = subprocess.run([nvcc, "--dryrun", "any.cu"], capture_output=True, text=True, check=True).stderr  # noqa: S603
    return Path(next(line for line in plan.splitlines() if line.startswith("#$ TOP=")).removeprefix("#$ TOP="))


def cuda_targets() -> list[str]:
    """Return nvcc's flags: machine code for each target, PTX of the last one for devices to come."""
    chosen = os.environ.get("MAMMOFAST_CUDA_ARCHITECTURES")
    numbers = CUDA_ARCHITECTURES if not chosen else chosen.replace(",", " ").split()
    if chosen == "all":
        numbers = ALL_CUDA_ARCHITECTURES
    targets = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers]
    return [*targets, f"-gencode=arch=compute_{numbers[-1]},code=compute_{numbers[-1]}"]


class BuildKernels(build_ext):
    """Compile .cu files with nvcc, then the rest with the C++ compiler."""

    def build_extension(self, extension: Pybind11Extension) -> None:
        """Build one extension; CUDA's run-time library is linked statically, so that importing needs no driver."""
        if nvcc := find_nvcc():
            extension.extra_objects = [self.compile_cuda(nvcc, path) for path in sorted(Path("csrc").rglob("*.cu"))]
            extension.define_macros.append(("MAMMOFAST_WITH_CUDA", None))
            home = cuda_home(nvcc)
            extension.include_dirs.append(str(home / "include"))
            extension.library_dirs += [str(home / folder) for folder in ("lib64", "lib")]
            extension.libraries += ["cudart_static", "dl", "rt", "pthread"]
        super().build_extension(extension)

    def compile_cuda(self, nvcc: str, source: Path) -> str:
        """Return the object file of one .cu file."""
        target = Path(self.build_temp) / source.with_suffix(".cu.o")
        target.parent.mkdir(parents=True, exist_ok=True)
        # -fmad=false: a contracted multiply-add would round otherwise than the CPU
        flags = ["-std=c++20", "-O3", "-fmad=false", "-DMAMMOFAST_WITH_CUDA", *cuda_targets()]
        command = [nvcc, *flags, "-Xcompiler", "-fPIC,-fvisibility=hidden", "-c", str(source), "-o", str(target)]
        self.announce(" ".join(command), level=2)
        subprocess.run(command, check=True)  # noqa: S603
        return str(target)


# Contracting a * b + c or reordering sums would make results depend on the machine.
compile_flags = ["-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]
link_flags: list[str] = []
if os.environ.get("MAMMOFAST_WERROR") == "1":
    compile_flags.append("-Werror")
if sanitizers := os.environ.get("MAMMOFAST_SANITIZE"):
    compile_flags += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g", "-O1"]
    link_flags.append(f"-fsanitize={sanitizers}")

ParallelCompile("MAMMOFAST_BUILD_JOBS", default=2).install()
setup(
    ext_modules=[
        Pybind11Extension(
            "mammofast.ops._kernels",
            sorted(str(path) for path in Path("csrc").rglob("*.cpp")),
            depends=sorted(str(path) for pattern in ("*.h", "*.cu") for path in Path("csrc").rglob(pattern)),
            cxx_std=20,
            extra_compile_args=compile_flags,
            extra_link_args=link_flags,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
