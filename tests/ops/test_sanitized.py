"""Every CUDA kernel and binding under AddressSanitizer and UndefinedBehaviorSanitizer, by the tests of this folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mammofast
from tests.cuda_on_host import build


@pytest.mark.skipif(
    shutil.which("g++") is None and not os.environ.get("MAMMOFAST_REQUIRE_TOOLS"),
    reason="KERNELS NOT SANITIZED: no g++",
)
@pytest.mark.skipif("MAMMOFAST_TEST_SANITIZED" in os.environ, reason="this is the sanitized run")
@pytest.mark.timeout(1500)  # it compiles all kernels, and sanitizers are slow
def test_kernels_on_the_host_are_clean(request):
    libraries = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")  # the second since the first looks for its exceptions at the start
    ]
    root = Path(mammofast.__file__).parents[1]
    options = {
        "LD_PRELOAD": " ".join(libraries),
        "MAMMOFAST_TEST_SANITIZED": str(request.config.cache.mkdir("cuda_on_host")),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
        **build.SANITIZER_OPTIONS,
        "PYTEST_ADDOPTS": "",
    }
    words = [
        sys.executable,
        "-P",  # the sources' mammofast, in the current folder, need not have its kernels
        "-m",
        "pytest",
        "-q",
        "-s",
        "-k",
        "on_host",
        "-p",
        "no:cacheprovider",
        Path(__file__).parent,
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, env=os.environ | options, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    assert " passed" in done.stdout
