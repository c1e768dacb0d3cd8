"""Reading a bundle: every file is hashed against the manifest before a byte of it is used.

The manifest is JSON, so nothing in a bundle is ever unpickled or executed by reading it. Its own SHA-256 is the
bundle's id: it holds the hash of every network, so the id stands for all that a bundle does.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from mammofast.errors import BundleError

FORMAT = 1
MANIFEST = "manifest.json"
# Bundles inside this package, by name: of mammograms, and of breast DCE-MRI.
SHIPPED = ("demo", "demo-mri")
# A manifest is a page of settings; anything larger is not one.
_MANIFEST_LIMIT = 4 << 20
CPU = "cpu"
_TARGET = re.compile(r"cpu|sm_\d+(\+ptx)?(,sm_\d+(\+ptx)?)*")
ACTIVATIONS = ("none", "sigmoid", "softmax", "tanh")


@dataclass(frozen=True, slots=True)
class Output:
    """Which tensor of a file is an output of the method's, and what is still to be done to it.

    activation: one of ``ACTIVATIONS``; "softmax" is over axis 1, "tanh" means that values are in -1..1 already.
    channel: the one of axis 1 to keep after that; None keeps all.
    """

    tensor: str
    activation: str = "none"
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """What a network must give: an .npz file, its hash, and the largest absolute error by output."""

    file: str
    sha256: str
    budget: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Network:
    """One compiled network of a bundle.

    file: its name inside the bundle's folder. sha256: of the whole file, hex. backend: what runs it.
    precision: of its weights and arithmetic. target: "cpu", or compute capabilities such as "sm_86,sm_89+ptx".
    versions: of what made it, by name.
    inputs, outputs: the method's names, and the file's where they differ.
    verified: false where nobody has run the file on its target yet; it is then held against ``parity`` when opened.
    """

    file: str
    sha256: str
    backend: str
    precision: str
    target: str
    versions: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    verified: bool = True
    parity: Parity | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest that was read and checked for form; networks are checked when they are read.

    id: SHA-256 of the manifest's bytes, hex. method: which of mammofast.methods runs it. parameters: that method's.
    notice: words that go wherever the results go; empty where there is nothing to say.
    accepts: what images must be, by ImageRecord field, as lists of allowed values; absent fields may be anything.
    operating_points: confidences, falling. A finding that reaches the first is to be shown always; at the k-th step
    after that, by whoever asks to see more, those that reach the next; at last all of them. No result changes by them.
    """

    folder: Path
    id: str
    name: str
    method: str
    networks: Mapping[str, Network]
    parameters: Mapping[str, Any]
    notice: str = ""
    accepts: Mapping[str, list[str]] = field(default_factory=dict)
    operating_points: tuple[float, ...] = ()

    def read(self, network: str) -> bytes:
        """Return a network's bytes.

        Raises
        ------
        BundleError
            When the manifest names no such network, or its file is missing or not the one the manifest hashes.

        """
        if network not in self.networks:
            raise BundleError(
                f"bundle {self.name!r} has no network {network!r}; its manifest names {sorted(self.networks)}"
            )
        found = self.networks[network]
        return self._content(found.file, found.sha256)

    def read_parity(self, network: str) -> bytes:
        """Return the bytes of a network's parity file; raises as :meth:`read` does."""
        parity = self.networks[network].parity
        if parity is None:
            raise BundleError(f"bundle {self.name!r}: its manifest names no parity file for {network!r}")
        return self._content(parity.file, parity.sha256)

    def _content(self, file: str, sha256: str) -> bytes:
        try:
            content = (self.folder / file).read_bytes()
        except OSError as error:
            raise BundleError(
                f"bundle {self.name!r}: {file} cannot be read ({error.strerror}); copy the bundle again"
            ) from error
        got = hashlib.sha256(content).hexdigest()
        if got != sha256:
            raise BundleError(
                f"bundle {self.name!r}: {file} has SHA-256 {got}, the manifest says {sha256}; "
                "the file was changed or damaged, copy or compile the bundle again"
            )
        return content


def load_bundle(bundle: str | Path) -> Bundle:
    """Read a bundle's manifest.

    Parameters
    ----------
    bundle: a folder, or "demo" or "demo-mri" for one inside this package.

    Raises
    ------
    BundleError
        When there is no manifest, or it does not have the form of this version.

    """
    folder = Path(__file__).parent / bundle if bundle in SHIPPED else Path(bundle)
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise BundleError(f"{path} is larger than {_MANIFEST_LIMIT} bytes: not a manifest")
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"no bundle at {folder}: {MANIFEST} cannot be read ({error.strerror}); "
            f"expected a bundle's folder, {' or '.join(map(repr, SHIPPED))}"
        ) from error
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{path}: got a JSON {type(manifest).__name__}, expected an object")
    if manifest.pop("format", None) != FORMAT:
        raise BundleError(f"{path}: expected format {FORMAT}; this version of mammofast reads no other")
    return _bundle(manifest, folder, hashlib.sha256(content).hexdigest())


def _bundle(manifest: dict[str, Any], folder: Path, bundle_id: str) -> Bundle:
    where = f"{folder / MANIFEST}"
    networks = manifest.pop("networks", None)
    if not isinstance(networks, dict) or not networks:
        raise BundleError(f"{where}: 'networks' must name at least one network")
    parsed = {name: _network(value, f"{where}: network {name!r}") for name, value in networks.items()}
    values = _known(manifest, Bundle, {"folder", "id", "networks"}, where)
    for key, kind in {"name": str, "method": str, "notice": str, "parameters": dict, "accepts": dict}.items():
        if key in values and not isinstance(values[key], kind):
            raise BundleError(f"{where}: {key!r} is a {type(values[key]).__name__}, expected a {kind.__name__}")
    accepts = values.get("accepts", {})
    if not all(isinstance(allowed, list) for allowed in accepts.values()):
        raise BundleError(f"{where}: every entry of 'accepts' must be a list of allowed values")
    points = values.get("operating_points", [])
    if not isinstance(points, list) or not all(_is_number(p, (int, float)) and 0 < p < math.inf for p in points):
        raise BundleError(f"{where}: 'operating_points' is {points!r}, expected a list of confidences above 0")
    if sorted(set(points), reverse=True) != points:
        raise BundleError(f"{where}: 'operating_points' is {points!r}, expected each to be lower than the one before")
    values["operating_points"] = tuple(points)
    return Bundle(folder=folder, id=bundle_id, networks=parsed, **values)


def _network(value: object, where: str) -> Network:
    values = _known(_object(value, where), Network, set(), where)
    outputs = _object(values.get("outputs", {}), f"{where}: 'outputs'")
    values["outputs"] = {name: _output(output, f"{where}: output {name!r}") for name, output in outputs.items()}
    if "parity" in values:
        values["parity"] = _parity(values["parity"], f"{where}: 'parity'")
    network = Network(**values)
    _check_file(network.file, where)
    for key, kind in {"backend": str, "precision": str, "target": str, "verified": bool}.items():
        if not isinstance(getattr(network, key), kind):
            raise BundleError(f"{where}: {key!r} is {getattr(network, key)!r}, expected a {kind.__name__}")
    for key in ("versions", "inputs"):
        entries = _object(getattr(network, key), f"{where}: {key!r}")
        if not all(isinstance(entry, str) for entry in entries.values()):
            raise BundleError(f"{where}: every entry of {key!r} must be a string")
    if not _TARGET.fullmatch(network.target):
        raise BundleError(f"{where}: target {network.target!r}, expected 'cpu' or such as 'sm_86' or 'sm_80+ptx'")
    if not network.verified and network.parity is None:
        raise BundleError(f"{where}: it is not verified, so 'parity' must name what to hold it against")
    return network


def _output(value: object, where: str) -> Output:
    if isinstance(value, str):
        return Output(value)
    output = Output(**_known(_object(value, where), Output, set(), where))
    if not isinstance(output.tensor, str):
        raise BundleError(f"{where}: tensor {output.tensor!r}, expected its name in the file")
    if output.activation not in ACTIVATIONS:
        raise BundleError(f"{where}: activation {output.activation!r}, expected one of {list(ACTIVATIONS)}")
    if output.channel is not None and not (_is_number(output.channel, int) and output.channel >= 0):
        raise BundleError(f"{where}: channel {output.channel!r}, expected an index from 0")
    return output


def _parity(value: object, where: str) -> Parity:
    parity = Parity(**_known(_object(value, where), Parity, set(), where))
    _check_file(parity.file, where)
    budget = _object(parity.budget, f"{where}: 'budget'")
    if not budget or not all(_is_number(error, (int, float)) and 0 <= error < math.inf for error in budget.values()):
        raise BundleError(f"{where}: 'budget' must give the largest absolute error of each output")
    return parity


def _is_number(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_file(file: object, where: str) -> None:
    if not isinstance(file, str) or Path(file).name != file or file in ("", ".", "..", MANIFEST):
        raise BundleError(f"{where}: file {file!r} must be a plain name inside the bundle's folder")


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BundleError(f"{where}: got a {type(value).__name__}, expected an object")
    return value


def _known(values: dict[str, Any], kind: type, given: set[str], where: str) -> dict[str, Any]:
    """Check keys against a dataclass: an unknown key is a setting that would silently not be followed."""
    expected = {f.name: f for f in fields(kind) if f.name not in given}
    needed = {name for name, f in expected.items() if f.default is MISSING and f.default_factory is MISSING}
    if unknown := set(values) - set(expected):
        raise BundleError(f"{where}: unknown entries {sorted(unknown)}; this version knows {sorted(expected)}")
    if missing := needed - set(values):
        raise BundleError(f"{where}: missing entries {sorted(missing)}")
    return dict(values)
