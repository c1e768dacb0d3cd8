"""What ``mammofast compile`` writes: a bundle that screens, or one engine's folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mammofast.bundles import load_bundle
from mammofast.bundles.manifest import FORMAT, MANIFEST
from mammofast.compilation.adapters import Mapped
from mammofast.compilation.compiler import Compiled, Say, Target, compile_source
from mammofast.compilation.defaults import METHODS, Role, RoleMade
from mammofast.compilation.rcnn import from_rcnn
from mammofast.compilation.sources import Size, Source, Weights, from_catalogue, from_onnx
from mammofast.errors import BundleError, EngineError
from mammofast.models import find

RANDOM_NOTICE = "Random weights: for trying the software only, its findings mean nothing."
REPORT = "compile.json"
ENGINE = "engine.json"
_ONNX = ".onnx"


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody chose for a role; what is not chosen is the method's default.

    network: a name of the catalogue, or an ONNX file. weights: None where the network brings its own.
    options: of the catalogue's network. sizes: (rows, cols).
    outputs: of an ONNX file, by the method's name for each.
    """

    network: str | None = None
    weights: Weights | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[Size, ...] = ()
    outputs: Mapping[str, Mapped] = field(default_factory=dict)


def compile_bundle(
    method: str,
    choices: Mapping[str, Choice],
    target: Target,
    out: Path,
    *,
    name: str | None = None,
    notice: str = "",
    parameters: Mapping[str, Any] | None = None,
    say: Say = lambda words: None,
) -> dict[str, Any]:
    """Compile a method's networks and write the bundle; return what was measured.

    Parameters
    ----------
    method: a name of ``METHODS``. choices: by role; networks need weights, or that random ones be asked for.
    out: a folder that does not exist yet, or is empty; it appears complete or not at all.
    name: the bundle's; the method's and its networks' by default. notice: goes wherever results go.
    parameters: of the method, in place of the defaults.

    Raises
    ------
    BundleError
        When ``out`` is not empty, or the method refuses a parameter.
    EngineError, ModelError
        When a network cannot be built, read or compiled, or is past its budget.

    """
    defaults = METHODS[method]
    target.check_here()
    _check_empty(out)
    for role, default in defaults.roles.items():
        _check_weights(role, default, choices.get(role, Choice()))
    compiled: dict[str, Compiled] = {}
    for role, default in defaults.roles.items():
        compiled[role] = compile_source(_source(role, default, choices.get(role, Choice())), target, say)
    made = {
        role: RoleMade(each.source.sizes, each.source.channels, each.source.geometry) for role, each in compiled.items()
    }
    words = [RANDOM_NOTICE] if any(c.weights and c.weights.random is not None for c in choices.values()) else []
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": name or "-".join([method, *(each.source.name for each in compiled.values())]),
        "method": method,
        "notice": " ".join([*words, *filter(None, [notice])]),
        "accepts": {"presentation_intent": ["FOR PRESENTATION"]},
    }
    with _complete_or_nothing(out) as folder:
        manifest["networks"] = {role: each.write(folder, role) for role, each in compiled.items()}
        manifest["parameters"] = {**defaults.parameters(made), **(parameters or {})}
        _write_json(folder / MANIFEST, manifest)
        report = {role: each.report() for role, each in compiled.items()}
        _write_json(folder / REPORT, {"backend": target.backend, "precision": target.precision, "networks": report})
        _check(folder)
    return {"bundle": load_bundle(out).id, "networks": report}


def compile_engine(choice: Choice, target: Target, out: Path, say: Say = lambda words: None) -> dict[str, Any]:
    """Compile one network into a folder: the engine, and ``engine.json``, its entry for a
    manifest; Faster R-CNN is two engines.

    Raises
    ------
    BundleError
        When ``out`` is not empty.
    EngineError, ModelError
        As :func:`compile_bundle`.

    """
    target.check_here()
    _check_empty(out)
    if choice.network is None:
        raise EngineError("network: a checkpoint holds weights only; say whose with --network NAME")
    role = Role(choice.network, "image", ())
    _check_weights("", role, choice)
    compiled = {stem: compile_source(each, target, say) for stem, each in _sources(role, choice).items()}
    report = {stem: each.report() for stem, each in compiled.items()}
    with _complete_or_nothing(out) as folder:
        entries = {stem: each.write(folder, stem) for stem, each in compiled.items()}
        _write_json(folder / ENGINE, {"networks": entries, "measured": report})
    return {"networks": report}


def _sources(role: Role, choice: Choice) -> dict[str, Source]:
    """Return the engines that one network is, by the stem of their files: one, but for Faster R-CNN."""
    network = role.network
    if not network.endswith(_ONNX) and find(network).output == "rcnn" and choice.weights is not None:
        return from_rcnn(network, choice.weights, options=choice.options, sizes=choice.sizes)
    return {Path(network).stem: _source("", role, choice)}


def _source(role: str, default: Role, choice: Choice) -> Source:
    network = choice.network or default.network
    sizes = choice.sizes or default.sizes
    if network.endswith(_ONNX):
        return from_onnx(Path(network), sizes, _input(default, role), _outputs(role, default, choice), default.channels)
    options = {**(default.options if network == default.network else {}), **choice.options}
    assert choice.weights is not None, "checked before"
    source = from_catalogue(
        network, choice.weights, options=options, sizes=sizes, input=default.input, channels=default.channels
    )
    if default.outputs and source.outputs != default.outputs:
        raise EngineError(f"{role}: {network!r} gives {list(source.outputs)}, expected {list(default.outputs)}")
    return source


def _input(default: Role, role: str) -> str | None:
    """Return what a file's input is to be called: a method's name, or where there is no method, the file's own."""
    return default.input if role else None


def _outputs(role: str, default: Role, choice: Choice) -> Mapping[str, Mapped]:
    if missing := set(default.outputs) - set(choice.outputs):
        first = sorted(missing)[0]
        raise EngineError(
            f"{role}: which tensor of the file is {first!r}? Say it with --output {role}.{first}=TENSOR, and for "
            "probabilities what is still to be done, such as TENSOR:softmax:1"
        )
    return choice.outputs


def _check_weights(role: str, default: Role, choice: Choice) -> None:
    network = choice.network or default.network
    if network.endswith(_ONNX):
        if choice.weights is not None and choice.weights.file is not None:
            raise EngineError(f"{role or network}: an ONNX file brings its own weights; leave --weights out")
        return
    if choice.weights is None:
        whose = f"{role} ({network})" if role else network
        option = f"--weights {role}=FILE" if role else "--weights FILE"
        raise EngineError(
            f"{whose}: no weights. Give {option}; or --random to try the software with random ones, which find nothing"
        )


def _check_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError("the folder to write is not empty; a bundle is never changed in place, name a new one")


class _complete_or_nothing:  # noqa: N801 - reads as a statement
    """A folder beside ``out`` that becomes it when the block ends well."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> Path:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._beside = TemporaryDirectory(prefix=f".{self._out.name}-", dir=self._out.parent)
        folder = Path(self._beside.name) / self._out.name
        folder.mkdir()
        return folder

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            if self._out.exists():
                self._out.rmdir()
            (Path(self._beside.name) / self._out.name).rename(self._out)
        self._beside.cleanup()


def _check(folder: Path) -> None:
    """Read the bundle as who opens it will: the manifest's form, and the method's own view of its parameters."""
    from mammofast.methods.parameters import read_parameters
    from mammofast.methods.screener import _METHODS

    bundle = load_bundle(folder)
    read_parameters(_METHODS[bundle.method].parameters_type, bundle.parameters, f"bundle {bundle.name!r}: parameters")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
