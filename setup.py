"""Build of the native extension; everything else is in pyproject.toml.

Variables: MAMMOFAST_CUDA=0 leaves CUDA out, MAMMOFAST_CUDA_ARCHITECTURES chooses its targets ("80,90" or "all"),
MAMMOFAST_SANITIZE=address,undefined builds with sanitizers, MAMMOFAST_WERROR=1 makes warnings errors.
"""

import os
import sys
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

# Contraction of a * b + c and reordered sums would make results depend on the machine.
MSVC = sys.platform == "win32"
COMPILE = ["/O2", "/fp:precise"] if MSVC else ["-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]
LINK: list[str] = []

if os.environ.get("MAMMOFAST_WERROR") == "1":
    COMPILE += ["/WX"] if MSVC else ["-Werror"]
if sanitizers := os.environ.get("MAMMOFAST_SANITIZE"):
    COMPILE += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g", "-O1"]
    LINK += [f"-fsanitize={sanitizers}"]

sources = sorted(str(path) for path in Path("csrc").rglob("*.cpp"))
headers = sorted(str(path) for path in Path("csrc").rglob("*.h"))

kernels = Pybind11Extension(
    "mammofast.ops._kernels",
    sources,
    depends=headers,
    cxx_std=20,
    extra_compile_args=COMPILE,
    extra_link_args=LINK,
)

ParallelCompile("MAMMOFAST_BUILD_JOBS", default=2).install()
setup(ext_modules=[kernels], cmdclass={"build_ext": build_ext})
