"""What mammofast says of its CUDA kernels, on machines of every kind."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from mammofast import cli, ops
from mammofast.ops import _native, device
from tests.cuda_on_host import build
from tests.ops import cases

ROOT = Path(__file__).parents[2]


@pytest.fixture
def a_machine(monkeypatch, request):
    """Install an extension for CUDA whose driver reports what the test says."""

    def install(targets="80,90", **found):
        row = {"kernel": "nms: mark", "target": 80, "registers": 40, "spill_stores": 0, "spill_loads": 8}
        rows = [row | {"stack": 0, "shared": 64}, row | {"target": 90, "registers": 38, "stack": 16, "shared": 64}]
        native = SimpleNamespace(
            targets=targets, devices=lambda: found, resources="".join(json.dumps(row) + "\n" for row in rows)
        )
        monkeypatch.setitem(sys.modules, build.NAME, native)
        _native._load_cuda.cache_clear()

    yield install
    _native._load_cuda.cache_clear()


NO_CARDS = {"cards": [], "problem": "no CUDA-capable device is detected"}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"driver": 0, "runtime": 13000, **NO_CARDS}, "no NVIDIA driver: .* install a driver for CUDA 13.0 or later"),
        ({"driver": 12080, "runtime": 13000, **NO_CARDS}, "too old, for CUDA 12.8: install one for CUDA 13.0 or later"),
        ({"driver": 13010, "runtime": 13000, **NO_CARDS}, r"no NVIDIA card to use \(no CUDA-capable.*VISIBLE_DEVICES"),
        (
            {"driver": 13000, "runtime": 13000, "cards": [("T4", 75)], "problem": ""},
            "the card T4 is of sm_75, the kernels for sm_80 and later: .*MAMMOFAST_CUDA_ARCHITECTURES=75",
        ),
    ],
)
def test_why_kernels_cannot_run_and_what_to_do(a_machine, found, says):
    a_machine(**found)
    assert re.search(says, _native.why_no_cuda())
    facts = json.loads(CliRunner().invoke(cli.main, ["doctor", "--json"]).output)
    assert (
        facts["CUDA kernels"] == f"not usable: {_native.why_no_cuda()}; built are nms; for sm_80, sm_90 and later cards"
    )
    assert "CUDA kernels" in CliRunner().invoke(cli.main, ["doctor", "--quiet"]).output


def test_kernels_that_run(a_machine):
    a_machine(driver=13000, runtime=13000, cards=[("T4", 75), ("H200", 90)], problem="")
    assert _native.why_no_cuda() is None
    facts = json.loads(CliRunner().invoke(cli.main, ["doctor", "--json", "--verbose"]).output)
    assert facts["CUDA kernels"] == "nms; for sm_80, sm_90 and later cards"
    assert facts["nms: mark"] == "40 registers, 8 B spilled, 16 B stack, 64 B shared"
    assert "CUDA kernels" not in CliRunner().invoke(cli.main, ["doctor", "--quiet"]).output


def test_without_cuda_the_cpu_does_all_and_the_doctor_says_how_to_get_it(no_cuda_kernels):
    assert _native.cuda_kernels() is None
    assert ops.nms(cases.ONE_BOX, cases.ONE_SCORE, 0.5).tolist() == [0]
    facts = json.loads(CliRunner().invoke(cli.main, ["doctor", "--json"]).output)
    assert facts["CUDA kernels"].startswith("not found: built without CUDA kernels: put CUDA's compiler nvcc")
    with pytest.raises(ValueError, match=r"boxes: .*nvcc on the path"):
        device.confidence_mask(np.zeros((1, 1, 4)), np.zeros((1, 1)), np.zeros(1), 1, (2, 2))


def extensions_built(**variables):
    """Return the extensions that setup.py would build; nothing is compiled."""
    code = (
        "import setuptools, runpy; setuptools.setup = lambda ext_modules, **_: print([e.name for e in ext_modules]);"
        "runpy.run_path('setup.py')"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("CUDA_HOME", "MAMMOFAST_CUDA")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=environment | variables, capture_output=True, text=True)


def test_a_build_without_nvcc_has_no_cuda(tmp_path):
    assert extensions_built(PATH=str(tmp_path)).stdout == "['mammofast.ops._kernels']\n"
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    both = "['mammofast.ops._kernels', 'mammofast.ops._cuda_kernels']\n"
    assert extensions_built(PATH=str(nvcc.parent)).stdout == both
    assert extensions_built(PATH="", CUDA_HOME=str(tmp_path)).stdout == both
    assert extensions_built(PATH=str(nvcc.parent), MAMMOFAST_CUDA="0").stdout == "['mammofast.ops._kernels']\n"
    asked = extensions_built(PATH="", MAMMOFAST_CUDA="1")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "nvcc is neither in CUDA_HOME/bin nor on the path" in asked.stderr


def test_targets_of_the_build():
    environment = os.environ | {"MAMMOFAST_CUDA_ARCHITECTURES": "all"}
    code = (
        "import setuptools, runpy; setuptools.setup = lambda **_: None;"
        "print(runpy.run_path('setup.py')['cuda_flags']())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    for number in (80, 86, 89, 90, 120):
        assert f"-gencode=arch=compute_{number},code=sm_{number}" in done.stdout
    assert "-gencode=arch=compute_80,code=compute_80" in done.stdout
    assert "-fmad=false" in done.stdout


def test_what_ptxas_says_is_read(monkeypatch):
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    monkeypatch.chdir(ROOT)
    log = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN9mammofast20_GLOBAL__N__df_cu_9e10make_votesEPi' for 'sm_80'
ptxas info    : Function properties for _ZN9mammofast10make_votesEPi
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 38 registers, used 1 barriers, 5124 bytes smem, 448 bytes cmem[0]
ptxas info    : Compiling entry function '_Z4fillIfEvPT_' for 'sm_120'
ptxas info    : Function properties for _Z4fillIfEvPT_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 6 registers, used 0 barriers
"""
    table = runpy.run_path("setup.py")["resources_of"](Path("csrc/confidence_mask/any.cu"), log)
    facts = ("kernel", "target", "registers", "spill_stores", "spill_loads", "stack", "shared")
    assert [tuple(row[fact] for fact in facts) for row in table] == [
        ("confidence_mask: make_votes", 80, 38, 12, 16, 8, 5124),
        ("confidence_mask: fill<float>", 120, 6, 0, 0, 0, 0),
    ]
