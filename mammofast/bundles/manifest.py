"""Reading a bundle: every file is hashed against the manifest before a byte of it is used.

The manifest is JSON, so nothing in a bundle is ever unpickled or executed by reading it. Its own SHA-256 is the
bundle's id: it holds the hash of every network, so the id stands for all that a bundle does.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mammofast.errors import BundleError

FORMAT = 1
MANIFEST = "manifest.json"
DEMO = "demo"
_DEMO_FOLDER = Path(__file__).parent / "demo"
# A manifest is a page of settings; anything larger is not one.
_MANIFEST_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Network:
    """One compiled network of a bundle.

    file: its name inside the bundle's folder. sha256: of the whole file, hex. backend: what runs it.
    precision: of its weights and arithmetic. target: the device it was compiled for.
    versions: of what made it, by name.
    """

    file: str
    sha256: str
    backend: str
    precision: str
    target: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest that was read and checked for form; networks are checked when they are read.

    id: SHA-256 of the manifest's bytes, hex. method: which of mammofast.methods runs it. parameters: that method's.
    notice: words that go wherever the results go; empty where there is nothing to say.
    accepts: what images must be, by ImageRecord field, as lists of allowed values; absent fields may be anything.
    """

    folder: Path
    id: str
    name: str
    method: str
    networks: Mapping[str, Network]
    parameters: Mapping[str, Any]
    notice: str = ""
    accepts: Mapping[str, list[str]] = field(default_factory=dict)

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
        expected = self.networks[network]
        try:
            content = (self.folder / expected.file).read_bytes()
        except OSError as error:
            raise BundleError(
                f"bundle {self.name!r}: {expected.file} cannot be read ({error.strerror}); copy the bundle again"
            ) from error
        got = hashlib.sha256(content).hexdigest()
        if got != expected.sha256:
            raise BundleError(
                f"bundle {self.name!r}: {expected.file} has SHA-256 {got}, the manifest says {expected.sha256}; "
                "the file was changed or damaged, copy or compile the bundle again"
            )
        return content


def load_bundle(bundle: str | Path) -> Bundle:
    """Read a bundle's manifest.

    Parameters
    ----------
    bundle: a folder, or "demo" for the one inside this package.

    Raises
    ------
    BundleError
        When there is no manifest, or it does not have the form of this version.

    """
    folder = _DEMO_FOLDER if bundle == DEMO else Path(bundle)
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise BundleError(f"{path} is larger than {_MANIFEST_LIMIT} bytes: not a manifest")
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"no bundle at {folder}: {MANIFEST} cannot be read ({error.strerror}); "
            "expected a bundle's folder, or 'demo'"
        ) from error
    try:
        manifest = json.loads(content)
    except ValueError as error:
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
    return Bundle(folder=folder, id=bundle_id, networks=parsed, **values)


def _network(value: object, where: str) -> Network:
    if not isinstance(value, dict):
        raise BundleError(f"{where}: got a {type(value).__name__}, expected an object")
    network = Network(**_known(value, Network, set(), where))
    if Path(network.file).name != network.file or network.file in ("", ".", "..", MANIFEST):
        raise BundleError(f"{where}: file {network.file!r} must be a plain name inside the bundle's folder")
    return network


def _known(values: dict[str, Any], kind: type, given: set[str], where: str) -> dict[str, Any]:
    """Check keys against a dataclass: an unknown key is a setting that would silently not be followed."""
    expected = {f.name for f in fields(kind)} - given
    optional = {"notice", "accepts", "versions"}
    if unknown := set(values) - expected:
        raise BundleError(f"{where}: unknown entries {sorted(unknown)}; this version knows {sorted(expected)}")
    if missing := expected - optional - set(values):
        raise BundleError(f"{where}: missing entries {sorted(missing)}")
    return dict(values)
