"""What ``mammofast compile`` writes: a bundle that screens, or one engine's folder."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mammofast.bundles import load_bundle
from mammofast.bundles.manifest import FORMAT, MANIFEST
from mammofast.compilation.adapters import Mapped
from mammofast.compilation.compiler import Compiled, Say, Target, compile_source, silent
from mammofast.compilation.defaults import METHODS, MethodDefaults, Role, RoleMade
from mammofast.compilation.networks import Weights, check_options, check_weights
from mammofast.compilation.rcnn import TRUNK, from_rcnn
from mammofast.compilation.sources import MASK, Size, Source, from_catalogue, from_onnx
from mammofast.engine import load_engine
from mammofast.errors import BundleError, EngineError
from mammofast.methods.parameters import read_parameters
from mammofast.methods.screener import METHODS as SCREENED
from mammofast.methods.screener import Screener
from mammofast.models import find
from mammofast.settings import Settings

RANDOM_NOTICE = "Random weights: for trying the software only, its findings mean nothing."
REPORT = "compile.json"
ENGINE = "engine.json"
_ONNX = ".onnx"
# Outputs of the catalogue's networks that run at any size: one engine for several.
_SIZES_FREE = ("yolo", "rcnn")

Done = Callable[[], None]


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
    say: Say = silent,
    done: Done = lambda: None,
) -> dict[str, Any]:
    """Compile a method's networks and write the bundle; return what was measured.

    Parameters
    ----------
    method: a name of ``METHODS``. choices: by role; networks need weights, or that random ones be asked for.
    out: a folder that does not exist yet, or is empty; it appears complete or not at all.
    name: the bundle's; the method's and its networks' by default. notice: goes wherever results go.
    parameters: of the method, in place of the defaults. say: told each step. done: called after each network.

    Raises
    ------
    BundleError
        When ``out`` is not empty or cannot be written, or the method refuses a parameter or a network.
    EngineError, ModelError
        When a network cannot be built, read or compiled, or is past its budget.

    """
    check_choices(method, choices, out)
    target.check_here()
    defaults = METHODS[method]
    with _complete_or_nothing(out) as folder:
        compiled: dict[str, Compiled] = {}
        for role, default in defaults.roles.items():
            for network, source in _sources(role, default, choices.get(role, Choice())).items():
                compiled[network] = compile_source(source, target, say)
            done()
        words = [RANDOM_NOTICE] if any(c.weights and c.weights.made_up for c in choices.values()) else []
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "name": name or "-".join([method, *_named(defaults, choices)]),
            "method": method,
            "notice": " ".join([*words, *filter(None, [notice])]),
            "accepts": dict(defaults.accepts),
            "networks": {role: each.write(folder, role) for role, each in compiled.items()},
            "parameters": {**defaults.parameters(_made(defaults, choices, compiled)), **(parameters or {})},
        }
        _write_json(folder / MANIFEST, manifest)
        report = {role: each.report() for role, each in compiled.items()}
        _write_json(folder / REPORT, {"backend": target.backend, "precision": target.precision, "networks": report})
        say("opening the bundle")
        _check(folder, compiled)
    return {"bundle": load_bundle(out).id, "networks": report}


def compile_engine(
    choice: Choice, target: Target, out: Path, say: Say = silent, done: Done = lambda: None
) -> dict[str, Any]:
    """Compile one network into a folder: the engine, and ``engine.json``, its entry for a
    manifest; Faster R-CNN is two engines.

    Raises
    ------
    BundleError
        When ``out`` is not empty, or cannot be written.
    EngineError, ModelError
        As :func:`compile_bundle`.

    """
    check_choices(None, {"": choice}, out)
    target.check_here()
    assert choice.network is not None, "checked before"
    role = Role(choice.network, "image", ())
    with _complete_or_nothing(out) as folder:
        compiled: dict[str, Compiled] = {}
        for stem, source in _sources("", role, choice).items():
            compiled[stem or Path(choice.network).stem] = compile_source(source, target, say)
        report = {stem: each.report() for stem, each in compiled.items()}
        entries = {stem: each.write(folder, stem) for stem, each in compiled.items()}
        _write_json(folder / ENGINE, {"networks": entries, "measured": report})
        done()
    return {"networks": report}


def check_choices(method: str | None, choices: Mapping[str, Choice], out: Path) -> None:
    """Check what was chosen for a method, or for one network, before any of the work is done.

    Raises
    ------
    BundleError
        When ``out`` is not empty.
    EngineError, ModelError
        When there is no such method, network or option, weights are missing, or a choice would have no effect.

    """
    if method is not None and method not in METHODS:
        raise EngineError(f"method: got {method!r}, expected one of {', '.join(METHODS)}")
    _check_empty(out)
    roles = {"": None} if method is None else METHODS[method].roles
    for name, role in roles.items():
        choice = choices.get(name, Choice())
        network = choice.network or (role.network if role else None)
        if network is None:
            raise EngineError("network: a checkpoint holds weights only; say whose with --network NAME")
        _check_weights(name, network, choice)
        _check_effect(name, network, role, choice)


def _made(
    defaults: MethodDefaults, choices: Mapping[str, Choice], compiled: Mapping[str, Compiled]
) -> dict[str, RoleMade]:
    made = {}
    for role, default in defaults.roles.items():
        network = choices.get(role, Choice()).network or default.network
        paper = None if network.endswith(_ONNX) else find(network).paper
        # Of a detector's two networks the first is what reads the image.
        source = compiled[role if role in compiled else TRUNK].source
        made[role] = RoleMade(source.sizes, source.channels, source.geometry, paper)
    return made


def _named(defaults: MethodDefaults, choices: Mapping[str, Choice]) -> list[str]:
    return [Path(choices.get(role, Choice()).network or each.network).stem for role, each in defaults.roles.items()]


def _sources(role: str, default: Role, choice: Choice) -> dict[str, Source]:
    """Return the networks that a role is, by their names in the manifest: its own, but for Faster R-CNN, which is two.

    Raises
    ------
    EngineError
        When an ONNX file is to be Faster R-CNN.

    """
    network = choice.network or default.network
    if not network.endswith(_ONNX) and find(network).output == "rcnn" and choice.weights is not None:
        return from_rcnn(network, choice.weights, options=choice.options, sizes=choice.sizes or default.sizes)
    if not default.network.endswith(_ONNX) and find(default.network).output == "rcnn":
        raise EngineError(f"{role}: {network!r} is another network than Faster R-CNN of the catalogue, which is two")
    return {role: _source(role, default, choice)}


def _source(role: str, default: Role, choice: Choice) -> Source:
    network = choice.network or default.network
    if network.endswith(_ONNX):
        return from_onnx(
            Path(network),
            choice.sizes,
            _input(default, role),
            _outputs(role, default, choice),
            default.channels,
            near=default.sizes,
            probabilities=default.outputs == (MASK,),
        )
    options = {**(default.options if network == default.network else {}), **choice.options}
    assert choice.weights is not None, "checked before"
    source = from_catalogue(
        network,
        choice.weights,
        options=options,
        sizes=choice.sizes,
        near=default.sizes,
        input=default.input,
        channels=default.channels,
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


def _check_weights(role: str, network: str, choice: Choice) -> None:
    if network.endswith(_ONNX):
        if choice.weights is not None and choice.weights.file is not None:
            raise EngineError(f"{role or network}: an ONNX file brings its own weights; leave --weights out")
        return
    check_options(network, choice.options)
    whose = f"{role} ({network})" if role else network
    if choice.weights is None:
        option = f"--weights {role}=FILE" if role else "--weights FILE"
        raise EngineError(
            f"{whose}: no weights. Give {option}; or --random to try the software with random ones, which find nothing"
        )
    check_weights(whose, choice.weights)


def _check_effect(name: str, network: str, role: Role | None, choice: Choice) -> None:
    """Refuse what would be ignored."""
    whose = name or network
    theirs = network.endswith(_ONNX)
    if theirs and choice.options:
        raise EngineError(f"{whose}: an ONNX file is what it is; leave {', '.join(sorted(choice.options))} out")
    if choice.outputs and (role is None or not theirs):
        raise EngineError(f"{whose}: --output names tensors of an ONNX file that takes a method's role; leave it out")
    if role is not None and (unknown := sorted(set(choice.outputs) - set(role.outputs))):
        raise EngineError(f"{whose}: has no output {unknown}, only {list(role.outputs)}")
    several = len(role.sizes) > 1 if role else theirs or find(network).output in _SIZES_FREE
    if len(choice.sizes) > 1 and not several:
        raise EngineError(f"{whose}: is compiled for one size, got {len(choice.sizes)}; leave all but one --size out")


def _check_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError("the folder to write is not empty; a bundle is never changed in place, name a new one")


class _complete_or_nothing:  # noqa: N801 - reads as a statement
    """A folder beside ``out`` that becomes it when the block ends well."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> Path:
        try:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._beside = TemporaryDirectory(prefix=f".{self._out.name}-", dir=self._out.parent)
        except OSError as error:
            raise BundleError(f"--out {self._out} cannot be written: {error.strerror}") from error
        folder = Path(self._beside.name) / self._out.name
        folder.mkdir()
        return folder

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            if self._out.exists():
                self._out.rmdir()
            (Path(self._beside.name) / self._out.name).rename(self._out)
        self._beside.cleanup()


def _check(folder: Path, compiled: Mapping[str, Compiled]) -> None:
    """Open the bundle as screening will; one for a GPU with its networks on the CPU, as they were before compilation.

    Raises
    ------
    BundleError
        When the method refuses the manifest, a parameter or a network's shapes.

    """
    bundle = load_bundle(folder)
    if all(each.verified for each in compiled.values()):
        Screener(bundle, Settings()).close()
        return
    kind = SCREENED[bundle.method]
    parameters = read_parameters(kind.parameters_type, bundle.parameters, f"bundle {bundle.name!r}: parameters")
    with ExitStack() as stack:
        engines = {
            role: stack.enter_context(load_engine(each.source.model, "onnxruntime")) for role, each in compiled.items()
        }
        kind(parameters, engines, Settings())


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
