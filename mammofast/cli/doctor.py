"""``mammofast doctor``: what this machine has, what is missing and how to get it."""

import json
import platform
import sys
from importlib import metadata

import click

from mammofast import __version__

# name → (distribution, what it is for)
_OPTIONAL = {
    "openvino": ("openvino", "bundles compiled for OpenVINO"),
    "torch": ("torch", "the papers' networks, and compiling"),
    "train": ("lightning-fabric", "training"),
    "evaluation": ("scipy", "distances, intervals and pictures of `evaluate`"),
    "dicom": ("highdicom", "results as DICOM objects"),
    "deidentify": ("dicom-anonymizer", "de-identified DICOM objects"),
    "s3": ("obstore", "archives and results in S3-compatible storage"),
    "pacs": ("pynetdicom", "images from a PACS, and results to it"),
    "cuda": ("pycuda", "running TensorRT engines"),
    "tensorrt": ("tensorrt-cu13", "engines for the NVIDIA card of this machine"),
    "tensorrt-rtx": ("tensorrt-rtx-cu13-libs", "engines for NVIDIA cards, built without one"),
}

_IN_USE = ("click", "dask", "Jinja2", "pyarrow", "rich")
# What is missing, too small or wrong begins with this.
_MISSING = "not "


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")
@click.option("--quiet", is_flag=True, help="Only what is missing or too small.")
@click.option(
    "--verbose",
    is_flag=True,
    help="The environment, the versions of all packages in use and the registers of CUDA kernels, too.",
)
def doctor_command(as_json: bool, quiet: bool, verbose: bool) -> None:
    """Say what this machine has, what is missing and how to get it.

    \b
    Example: mammofast doctor
    """  # noqa: D301
    facts = _facts()
    if verbose:
        facts |= {"environment": sys.prefix, **{name: metadata.version(name) for name in _IN_USE}}
        facts |= _kernel_table()
    if quiet:
        facts = {name: value for name, value in facts.items() if str(value).startswith(_MISSING)}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name:<18} {value}")


def _facts() -> dict[str, object]:
    from mammofast.ops._native import kernels

    kernels()  # raises with what to do
    facts: dict[str, object] = {
        "mammofast": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "CPU kernels": "C++",
        "CUDA kernels": _cuda_kernels(),
        "nvidia driver": _driver(),
    }
    from mammofast.cli.doctor_machine import machine_facts

    facts |= machine_facts()
    for name in ("numpy", "onnxruntime", "tensorstore", "imagecodecs", "pydicom", "distributed"):
        facts[name] = metadata.version(name)
    for name, (distribution, purpose) in _OPTIONAL.items():
        facts[name] = _version(distribution) or f'not installed ({purpose}): pip install "mammofast[{name}]"'
    return facts


def _cuda_kernels() -> str:
    from mammofast.ops._native import cuda_kernels, kernel_resources, why_no_cuda

    native, problem = cuda_kernels(), why_no_cuda()
    if native is None:
        return f"not found: {problem}"
    ops = sorted({row["kernel"].split(":")[0] for row in kernel_resources()})
    built = f"{', '.join(ops)}; for sm_{native.targets.replace(',', ', sm_')} and later cards"
    return built if problem is None else f"not usable: {problem}; built are {built}"


def _driver() -> str:
    from mammofast.engine.driver import card_count, compute_capability, has_driver

    if not has_driver():
        return "not found: the CPU is used"
    if not (count := card_count()):
        return "not usable: it shows no card; look at nvidia-smi, and whether a container was given one (--gpus all)"
    capabilities = [compute_capability(index) for index in range(count)]
    return f"{count} cards, compute capability " + ", ".join(f"{c / 10:.1f}" for c in capabilities if c is not None)


def _kernel_table() -> dict[str, str]:
    """Say what each CUDA kernel takes of a card, the most that any target needs."""
    from mammofast.ops._native import kernel_resources

    most: dict[str, dict[str, int]] = {}
    for row in kernel_resources():
        facts = most.setdefault(row["kernel"], {})
        for name in ("registers", "spill_stores", "spill_loads", "stack", "shared"):
            facts[name] = max(facts.get(name, 0), row[name])
    return {
        kernel: "{registers} registers, {spilled} B spilled, {stack} B stack, {shared} B shared".format(
            **facts, spilled=facts["spill_stores"] + facts["spill_loads"]
        )
        for kernel, facts in most.items()
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
