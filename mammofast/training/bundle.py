"""Bundles out of trainings: what was trained, with the parameters that it was trained for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mammofast.compilation.bundle import Choice, compile_bundle
from mammofast.compilation.compiler import Target
from mammofast.compilation.defaults import METHODS
from mammofast.compilation.networks import Weights
from mammofast.errors import TrainingError
from mammofast.training.checkpoint import read_facts
from mammofast.training.folder import WEIGHTS
from mammofast.training.recipe import BundleTable

_CPU = Target("onnxruntime")


def write_bundle(
    trained: Mapping[str, Path], out: Path, target: Target = _CPU, name: str | None = None
) -> dict[str, Any]:
    """Compile trained networks and write the bundle; return what :func:`compile_bundle` measured.

    Parameters
    ----------
    trained: by role of the method, a training's folder, or one of its stages' weights; all of one method.
    out: a folder that does not exist yet, or is empty. target: what is to run it; ONNX Runtime on the CPU by default.
    name: the bundle's; by default the recipes'.

    Raises
    ------
    TrainingError
        When a training is of another role or method, or no method's; or two state one parameter differently.
    BundleError, EngineError, ModelError
        As :func:`compile_bundle`.

    """
    files, facts = _read(trained)
    methods = sorted({each["bundle"]["method"] for each in facts.values()})
    if len(methods) != 1:
        raise TrainingError(f"got trainings for {len(methods)} methods ({', '.join(methods)}), expected one method's")
    if missing := sorted(set(METHODS[methods[0]].roles) - set(trained)):
        raise TrainingError(
            f"a bundle of {methods[0]} has a {' and a '.join(missing)} too: train one, and give its folder as well"
        )
    choices = {
        role: Choice(
            network=each["network"]["name"],
            weights=Weights(file=files[role]),
            options=each["network"]["options"],
            sizes=tuple((rows, cols) for rows, cols in each["network"]["sizes"]),
        )
        for role, each in facts.items()
    }
    notices = dict.fromkeys(each["bundle"]["notice"] for each in facts.values())
    return compile_bundle(
        *(methods[0], choices, target, out),
        name=name or "-".join(dict.fromkeys(each["recipe"] for each in facts.values())),
        notice=" ".join(filter(None, notices)),
        parameters=_merged(facts),
    )


def check_others(own: BundleTable, others: Mapping[str, Path]) -> None:
    """Say before a training, which takes hours, what its bundle could not be made of.

    Parameters
    ----------
    own: what the recipe trains for. others: by role, as in :func:`write_bundle`.

    Raises
    ------
    TrainingError
        When the method has no such role, or there is no finished training for it.

    """
    wanted = sorted(set(METHODS[own.method].roles) - {own.role})
    for role in others:
        if role not in wanted:
            expected = " or ".join(wanted) or "none"
            raise TrainingError(f"{role}: {own.method} has no such network beside its {own.role}; expected {expected}")
    for role, each in _read(others)[1].items():
        if each["bundle"]["method"] != own.method:
            raise TrainingError(f"{role}: got a training for {each['bundle']['method']}, expected one for {own.method}")


def _read(trained: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, dict[str, Any]]]:
    """Return each role's weights, and what they say of their training."""
    files = {role: path / WEIGHTS if path.is_dir() else path for role, path in trained.items()}
    for role, file in files.items():
        if not file.is_file():
            raise TrainingError(f"{role}: there is no finished training; train it first, and give its --out")
    facts = {role: read_facts(file) for role, file in files.items()}
    for role, each in facts.items():
        if each.get("bundle") is None:
            raise TrainingError(f"{role}: recipe {each['recipe']!r} trains for no method; compile its weights alone")
        if each["bundle"]["role"] != role:
            raise TrainingError(
                f"{role}: got a training of recipe {each['recipe']!r}, which is for the role {each['bundle']['role']!r}"
            )
    return files, facts


def _merged(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for role, each in facts.items():
        for key, value in each["bundle"]["parameters"].items():
            if merged.setdefault(key, value) != value:
                raise TrainingError(
                    f"{role}: was trained for {key} = {value!r}, another network of the bundle for {merged[key]!r}; "
                    "train both for one"
                )
    return merged
