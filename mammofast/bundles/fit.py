"""Whether a bundle's networks fit this machine. One that does not is named with what to run, and never rebuilt."""

from mammofast.bundles.manifest import CPU, Bundle
from mammofast.engine import tensorrt
from mammofast.engine.driver import compute_capability
from mammofast.engine.on_device import card_index
from mammofast.errors import BundleError, EngineError
from mammofast.settings import DEVICE


def fitting_device(bundle: Bundle, name: str, device: str) -> str:
    """Return where a network is to run, "cpu", "cuda" (the first card) or "cuda:i".

    device: "auto", "cpu", "cuda" or "cuda:i"; "auto" is what the network was compiled for.

    Raises
    ------
    EngineError
        When the network was compiled for another device or by another version of its backend.

    """
    if not DEVICE.fullmatch(device):
        raise EngineError(f"device: got {device!r}, expected 'auto', 'cpu', 'cuda' or such as 'cuda:1'")
    network = bundle.networks[name]
    where = f"bundle {bundle.name!r}: network {name!r}"
    if network.target == CPU:
        if device not in ("auto", CPU):
            raise EngineError(f"{where} was compiled for the CPU, not for device {device!r}; {_again(bundle)}")
        found = CPU
    else:
        index = card_index(device)
        made_for = f"{where} was compiled for {network.target}"
        if device == CPU:
            raise EngineError(f"{made_for}, not for the CPU; {_again(bundle, 'onnxruntime')}")
        capability = compute_capability(index)
        if capability is None:
            raise EngineError(
                f"{made_for}, and no NVIDIA card {index} with a driver is here; {_again(bundle, 'onnxruntime')}"
            )
        if not _runs_on(network.target, capability):
            raise EngineError(f"{made_for}, card {index} is sm_{capability}; {_again(bundle, network.backend)}")
        found = f"cuda:{index}" if index else "cuda"
    _check_version(bundle, name, where)
    return found


def device_of(bundle: Bundle) -> str:
    """Return what a bundle was compiled for, "cpu" or "cuda": a card as soon as one network needs it."""
    return CPU if all(network.target == CPU for network in bundle.networks.values()) else "cuda"


def installed_version(backend: str) -> str | None:
    """Return the version of TensorRT or TensorRT for RTX on this machine; None where it is not installed."""
    try:
        return str(tensorrt.import_flavour(backend).__version__)
    except ImportError:
        return None


def _runs_on(target: str, capability: int) -> bool:
    """Whether one of "sm_86,sm_89+ptx" is this card's; +ptx goes on to all newer ones."""
    for part in target.split(","):
        number = int(part.removeprefix("sm_").removesuffix("+ptx"))
        if number == capability or (part.endswith("+ptx") and number < capability):
            return True
    return False


def _check_version(bundle: Bundle, name: str, where: str) -> None:
    network = bundle.networks[name]
    backend = network.backend
    # Only the version that wrote a serialized engine can read it; ONNX is read by all.
    if backend not in tensorrt.FLAVOURS:
        return
    made_with = network.versions.get(backend)
    if made_with is None:
        raise BundleError(f"{where}: 'versions' must state the {backend} that compiled it: no other can read the file")
    here = installed_version(backend)
    # A backend that is missing altogether is what load_engine says best.
    if here is not None and here.split(".")[: made_with.count(".") + 1] != made_with.split("."):
        raise EngineError(
            f"{where} was compiled by {backend} {made_with}, here is {here}; "
            f"install {backend} {made_with}, or {_again(bundle, backend)}"
        )


def _again(bundle: Bundle, backend: str = "tensorrt-rtx") -> str:
    return f"compile it for this machine: mammofast compile {bundle.method} --to {backend} --out NEW-BUNDLE"
