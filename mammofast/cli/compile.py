"""``mammofast compile``: networks into engines, held against what they were, and bundles that screen."""

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mammofast.cli.progress import progress
from mammofast.cli.words import read_size, read_value

if TYPE_CHECKING:
    from mammofast.compilation.bundle import Choice

_BACKENDS = ["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx", "torch"]
_ONNX = ".onnx"
_CHECKPOINTS = (".safetensors", ".weights", ".pt", ".pth", ".ckpt", ".bin")


@click.command("compile")
@click.argument("what", metavar="METHOD|NETWORK|FILE")
@click.option("--to", "backend", required=True, type=click.Choice(_BACKENDS), help="What is to run it.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new folder.")
@click.option(
    "--precision", default="fp32", show_default=True, type=click.Choice(["fp32", "bf16", "fp16"]), help="Of arithmetic."
)
@click.option("--network", "networks", multiple=True, metavar="[ROLE=]NAME", help="In place of a method's default.")
@click.option("--weights", multiple=True, metavar="[ROLE=]FILE", help="Trained weights: safetensors, .weights, .pt.")
@click.option("--layout", "layouts", multiple=True, metavar="[ROLE=]LAYOUT", help="Whose names the weights' keys are.")
@click.option("--random", is_flag=True, help="Random weights where there are no others: finds nothing, for trying.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of random weights.")
@click.option("--option", "options", multiple=True, metavar="[ROLE.]KEY=VALUE", help="Of a network, such as classes=1.")
@click.option("--width", type=click.FloatRange(0, min_open=True), help="Factor on all networks' hidden channels.")
@click.option("--size", "sizes", multiple=True, metavar="[ROLE=]ROWSxCOLS", help="An input's size; may be repeated.")
@click.option("--output", "outputs", multiple=True, metavar="[ROLE.]NAME=TENSOR[:ACTIVATION[:CHANNEL]]",
              help="Which tensor of an ONNX file is a method's output.")  # fmt: skip
@click.option("--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="Of the method, in JSON.")
@click.option("--name", help="The bundle's name.")
@click.option("--notice", default="", help="Words that go wherever the bundle's results go.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1), help="Largest batch (TensorRT).")
@click.option("--compute-capability", "capabilities", multiple=True, metavar="8.6", help="Cards (TensorRT for RTX).")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="What runs it (torch).  [default: cpu]")
@click.option("--timing-cache", type=click.Path(path_type=Path, dir_okay=False), help="Kept timings (TensorRT).")
@click.option("--workspace", type=click.IntRange(1), metavar="MIB", help="Memory of one layer (TensorRT).")
@click.option("--budget", type=float, help="Largest error allowed; the precision's own by default.")
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, and nothing said.")
@click.option("--verbose", is_flag=True, help="Say each step, and the errors of every output.")
def compile_command(
    what: str,
    backend: str,
    out: Path,
    precision: str,
    networks: tuple[str, ...],
    weights: tuple[str, ...],
    layouts: tuple[str, ...],
    random: bool,
    seed: int,
    options: tuple[str, ...],
    width: float | None,
    sizes: tuple[str, ...],
    outputs: tuple[str, ...],
    parameters: tuple[str, ...],
    name: str | None,
    notice: str,
    batch: int,
    capabilities: tuple[str, ...],
    device: str | None,
    timing_cache: Path | None,
    workspace: int | None,
    budget: float | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compile a method's networks to a bundle, or one network to an engine.

    \b
    Example: mammofast compile two_stage --to onnxruntime --out my-bundle \\
                 --weights detector=detector.safetensors --weights segmenter=segmenter.safetensors
    Example: mammofast compile aunet --to tensorrt-rtx --precision fp16 --compute-capability 8.6 --out aunet --random
    Example: mammofast compile network.onnx --to openvino --precision bf16 --out network

    METHOD makes a bundle; NETWORK is a name of `mammofast models`, FILE an ONNX network or a checkpoint, whose network
    is then named by --network. Every engine is compared with the network in PyTorch, on a phantom and on noise, and
    refused past its budget. Engines for GPUs cannot run here: they are compared when the bundle is first opened.
    """  # noqa: D301
    try:
        from mammofast.compilation.bundle import compile_bundle, compile_engine
    except ModuleNotFoundError as error:
        raise ImportError(f'compiling needs the extra "torch" ({error}): pip install "mammofast[torch]"') from error
    from mammofast.compilation.bundle import check_choices
    from mammofast.compilation.compiler import Target
    from mammofast.compilation.defaults import METHODS

    with _misuse():
        target = Target(
            backend=backend,
            precision=precision,
            max_batch=batch,
            compute_capabilities=tuple(dict.fromkeys(capabilities)),
            workspace=None if workspace is None else workspace << 20,
            timing_cache=timing_cache,
            budget=budget,
            device=device,
        )
    method = what if what in METHODS else None
    roles = list(METHODS[what].roles) if what in METHODS else [""]
    named, files = _by_role(networks, roles, "--network"), _by_role(weights, roles, "--weights")
    if method is None:
        _one_engine(what, named, files)
        for option, given in (("--parameter", parameters), ("--name", name), ("--notice", notice)):
            if given:
                raise click.UsageError(f"{option} is a bundle's; {what!r} is no method: {', '.join(METHODS)}")
    values = {key: read_value(text) for key, text in _pairs(parameters, "--parameter")}
    with _misuse():
        choices = _choices(roles, named, files, _by_role(layouts, roles, "--layout"), seed if random else None)
        choices = _with_details(choices, options, outputs, _by_role(sizes, roles, "--size"))
        choices = _with_width(choices, width, random)
        _check_named(named, "" if method else what, METHODS)
        check_choices(method, choices, out)
    plain = not sys.stderr.isatty()

    def say(words: str, detail: bool = False) -> None:
        if not (quiet or as_json) and (verbose or (plain and not detail)):
            click.echo(words, err=True)

    with progress("Compiling networks", len(roles), quiet or as_json) as advance:
        if method is not None:
            found = compile_bundle(
                *(method, choices, target, out),
                name=name,
                notice=notice,
                parameters=values,
                say=say,
                done=lambda: advance(1),
            )
        else:
            found = compile_engine(choices[""], target, out, say, lambda: advance(1))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not quiet:
        _tell(found, target.precision, backend, verbose)


@contextmanager
def _misuse() -> Iterator[None]:
    """What is wrong with the words of a command, before any work, is misuse of it."""
    from mammofast.errors import BundleError, EngineError, ModelError

    try:
        yield
    except (BundleError, EngineError, ModelError) as error:
        raise click.UsageError(str(error)) from error


def _check_named(named: Mapping[str, list[str]], what: str, methods: Iterable[str]) -> None:
    """Check that networks exist; WHAT may have been meant as a method's name too."""
    from mammofast.errors import ModelError
    from mammofast.models import find

    for network in itertools.chain(*named.values()):
        if network.endswith(_ONNX):
            continue
        try:
            find(network)
        except ModelError as error:
            more = f"; the methods are {', '.join(methods)}" if network == what else ""
            raise click.UsageError(f"{error}{more}") from error


def _one_engine(what: str, named: dict[str, list[str]], files: dict[str, list[str]]) -> None:
    """Sort out whether WHAT is a network's name, an ONNX file or a checkpoint."""
    if what.endswith(_ONNX):
        if named.get(""):
            raise click.UsageError("an ONNX file is a network; leave --network out")
        named[""] = [what]
    elif Path(what).suffix and Path(what).exists():
        if files.get(""):
            raise click.UsageError("two files of weights: give one")
        files[""] = [what]
    elif Path(what).suffix in _CHECKPOINTS:
        raise click.UsageError(f"there is no file {what}")
    elif named.get(""):
        raise click.UsageError(f"two networks: {what!r} and {named[''][0]!r}; give one")
    else:
        named[""] = [what]


def _choices(
    roles: Sequence[str],
    named: Mapping[str, list[str]],
    files: Mapping[str, list[str]],
    layouts: Mapping[str, list[str]],
    seed: int | None,
) -> dict[str, "Choice"]:
    from mammofast.compilation.bundle import Choice
    from mammofast.compilation.networks import Weights

    choices = {}
    for role in roles:
        file, layout = _only(files, role, "--weights"), _only(layouts, role, "--layout")
        network = _only(named, role, "--network")
        if layout is not None and file is None:
            raise click.UsageError(f"--layout {layout}: says how to read --weights, and there are none")
        weights = None
        if file is not None:
            weights = Weights(file=Path(file), layout=layout, random=seed)
        elif seed is not None and not (network or "").endswith(_ONNX):
            weights = Weights(random=seed)
        choices[role] = Choice(network=network, weights=weights)
    return choices


def _with_details(
    choices: Mapping[str, "Choice"],
    options: Sequence[str],
    outputs: Sequence[str],
    sizes: Mapping[str, list[str]],
) -> dict[str, "Choice"]:
    from dataclasses import replace

    from mammofast.compilation.adapters import Mapped

    roles = list(choices)
    set_options: dict[str, dict[str, Any]] = {role: {} for role in roles}
    for key, text in _pairs(options, "--option"):
        role, option = _of_role(key, roles, "--option")
        set_options[role][option] = read_value(text)
    mapped: dict[str, dict[str, Mapped]] = {role: {} for role in roles}
    for key, text in _pairs(outputs, "--output"):
        role, output = _of_role(key, roles, "--output")
        mapped[role][output] = Mapped.parse(text)
    return {
        role: replace(
            choice, options=set_options[role], outputs=mapped[role], sizes=tuple(map(read_size, sizes.get(role, [])))
        )
        for role, choice in choices.items()
    }


def _with_width(choices: Mapping[str, "Choice"], width: float | None, random: bool) -> dict[str, "Choice"]:
    """Give the factor to all networks of the catalogue; what no network heeds is misuse."""
    from dataclasses import replace

    built = {role for role, choice in choices.items() if not (choice.network or "").endswith(_ONNX)}
    if not built and (random or width is not None):
        option = "--random" if random else "--width"
        raise click.UsageError(f"{option}: an ONNX file is what it is, its weights inside; leave it out")
    if random and not any(choice.weights and choice.weights.made_up for choice in choices.values()):
        raise click.UsageError("--random: all weights are given; leave it out")
    if width is None:
        return dict(choices)
    return {
        role: replace(choice, options={"width": width, **choice.options}) if role in built else choice
        for role, choice in choices.items()
    }


def _by_role(values: Sequence[str], roles: Sequence[str], option: str) -> dict[str, list[str]]:
    """Sort ROLE=VALUE by role; where there is one role only, it need not be said."""
    found: dict[str, list[str]] = {}
    for value in values:
        role, equals, rest = value.partition("=")
        if equals and role in roles:
            found.setdefault(role, []).append(rest)
        elif len(roles) == 1:
            found.setdefault(roles[0], []).append(value)
        else:
            raise click.UsageError(f"{option} {value}: say whose it is, as {' or '.join(f'{r}=...' for r in roles)}")
    return found


def _of_role(key: str, roles: Sequence[str], option: str) -> tuple[str, str]:
    role, dot, rest = key.partition(".")
    if dot and role in roles:
        return role, rest
    if len(roles) == 1:
        return roles[0], key
    raise click.UsageError(f"{option} {key}=...: say whose it is, as {' or '.join(f'{r}.{key}=...' for r in roles)}")


def _pairs(values: Sequence[str], option: str) -> list[tuple[str, str]]:
    for value in values:
        if "=" not in value:
            raise click.UsageError(f"{option} {value}: expected KEY=VALUE")
    return [(key, text) for key, _, text in (value.partition("=") for value in values)]


def _only(values: Mapping[str, list[str]], role: str, option: str) -> str | None:
    given = values.get(role, [])
    if len(given) > 1:
        raise click.UsageError(f"{option}: got {' and '.join(given)}{f' for {role}' if role else ''}, expected one")
    return given[0] if given else None


def _tell(found: Mapping[str, Any], precision: str, backend: str, verbose: bool) -> None:
    for role, network in found["networks"].items():
        size = f"{network['bytes'] / 1e6:.1f} MB"
        worst = max((o["max_abs"] / o["budget"] for o in network["outputs"].values()), default=None)
        verdict = "" if worst is None else f", largest error {worst:.0%} of its budget"
        where = "" if network["verified"] else "; not yet verified on a GPU, compared when it is first opened"
        click.echo(f"{role:<10} {network['network']}, {precision} for {backend}, {size}{verdict}{where}")
        if verbose:
            for name, output in network["outputs"].items():
                click.echo(
                    f"{'':<10}   {name}: max {output['max_abs']:.2e}, mean {output['mean_abs']:.2e}, "
                    f"allowed {output['budget']:.2e}"
                )
    if "bundle" in found:
        click.echo(f"bundle     {found['bundle']}")
