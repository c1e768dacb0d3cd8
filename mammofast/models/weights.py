"""Reading weights from files of several makers. Nothing in a file is ever executed."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from mammofast.errors import ModelError
from mammofast.models.blocks import set_norm_eps
from mammofast.models.layouts.keys import COUNTER, some

State = Mapping[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
# DistributedDataParallel's and torch.compile's.
_PREFIXES = ("module.", "_orig_mod.")
_WAY_OUT = "save network.state_dict() with torch.save, or as safetensors, where the file was made"


def load_weights(
    network: nn.Module, path: str | Path, layout: str | None = None, *, norm_eps: float | None = None
) -> None:
    """Load a file's weights into a network, whole or not at all.

    Parameters
    ----------
    network: as ``mammofast.models.create`` builds it.
    path: a .safetensors file; a PyTorch one (.pt, .pth, .ckpt, .bin) of a state dict, also one inside "state_dict",
        "model_state_dict" or "model", or saved from DataParallel; or Darknet's .weights.
    layout: whose keys the file has, see ``LAYOUTS``; None for this project's own, and for .weights "darknet".
        Layouts of a backbone leave the rest of the network as it is.
    norm_eps: what batch normalization adds to the variance in the framework that trained the weights, where that is
        not what the network has; a file does not say it. Darknet's GPU code and PyTorch 1e-5, Keras 1e-3.

    Raises
    ------
    ModelError
        When the file cannot be read, is cut off, would have to be executed, does not fit the network, or holds NaN,
        infinity or a negative variance. The network is then as it was.

    """
    path = Path(path)
    if layout is None and path.suffix == _DARKNET:
        layout = "darknet"
    if layout is not None and layout not in LAYOUTS:
        raise ModelError(f"no layout is called {layout!r}; expected one of {', '.join(LAYOUTS)}, or none for our own")
    try:
        if path.stat().st_size == 0:
            raise ModelError(f"{path} is empty: copy it again")
        state = LAYOUTS[layout](path, network) if layout else read_state(path)
        fitting = _checked(network, state, partial=layout in BACKBONES)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ModelError(f"{path} cannot be loaded into {type(network).__name__}: {error}") from error
    network.load_state_dict(fitting)
    if norm_eps is not None:
        set_norm_eps(network, norm_eps)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a safetensors or PyTorch file, out of what wraps it, keys as they are there.

    Raises
    ------
    ModelError
        When the file holds no state dict, is damaged, or would have to be executed.
    OSError
        When it cannot be read.

    """
    if path.suffix not in _READERS:
        raise ModelError(f"{path}: weights are in files that end in {', '.join(_READERS)} or {_DARKNET}")
    content = _READERS[path.suffix](path)
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path}: got a {type(content).__name__}, expected a state dict, names to tensors; {_WAY_OUT}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelError(
                f"{path}: expected a state dict, names to tensors; {key!r} is a {type(value).__name__}; {_WAY_OUT}"
            )
        if not _is_plain(value):
            raise ModelError(
                f"{path}: {key!r} is a quantized, sparse, complex or empty tensor ({value.dtype}, {value.layout}, on "
                f"{value.device}), expected a plain one; save the weights as float32 where the file was made"
            )
    state = dict(content)
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _is_plain(tensor: Tensor) -> bool:
    """Tell whether a tensor holds its numbers as they are, so that turning them to float32 loses nothing but digits."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return plain and not tensor.is_quantized and not tensor.is_complex()


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise ModelError('safetensors files need the package safetensors: pip install "mammofast[torch]"') from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path} is no whole safetensors file ({error}): copy it again") from error


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PyTorch warns of here, it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModelError(
            f"{path} is damaged, or holds more than tensors, a whole pickled module perhaps; reading that would run "
            f"code from the file, so it is refused: {_WAY_OUT}"
        ) from error
    except OSError:
        raise
    except Exception as error:  # a damaged file fails wherever its first wrong byte is
        if "TorchScript" in str(error):  # PyTorch's own words advise to open it all the same
            raise ModelError(
                f"{path} is a TorchScript archive, which holds code, so it is refused: {_WAY_OUT}"
            ) from error
        first_line = str(error).partition("\n")[0]
        raise ModelError(f"{path} is no whole PyTorch file ({first_line}): copy it again, or {_WAY_OUT}") from error


_DARKNET = ".weights"
_READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".ckpt": _read_torch,
    ".bin": _read_torch,
}


def _darknet(path: Path, network: nn.Module) -> State:
    from mammofast.models.layouts.darknet import read

    return read(path, network)


def _darknet_backbone(path: Path, network: nn.Module) -> State:
    from mammofast.models.layouts.darknet import read

    return read(path, network, backbone=True)


def _aunet(path: Path, network: nn.Module) -> State:
    from mammofast.models.layouts.aunet import convert

    return convert(read_state(path))


def _torchvision(path: Path, network: nn.Module) -> State:
    from mammofast.models.layouts.torchvision import convert

    return convert(read_state(path), network)


def _faster_rcnn(path: Path, network: nn.Module) -> State:
    from mammofast.models.layouts.faster_rcnn import convert

    return convert(read_state(path))


LAYOUTS: Mapping[str, Callable[[Path, nn.Module], State]] = {
    "darknet": _darknet,
    "darknet-backbone": _darknet_backbone,
    "aunet": _aunet,
    "torchvision-vgg16": _torchvision,
    "torchvision-vgg19": _torchvision,
    "torchvision-resnet18": _torchvision,
    "torchvision-resnet50": _torchvision,
    "torchvision-resnet101": _torchvision,
    "torchvision-faster-rcnn": _faster_rcnn,
}
BACKBONES = frozenset(
    {
        "darknet-backbone",
        "torchvision-vgg16",
        "torchvision-vgg19",
        "torchvision-resnet18",
        "torchvision-resnet50",
        "torchvision-resnet101",
    }
)


def _checked(network: nn.Module, state: State, *, partial: bool) -> dict[str, Tensor]:
    """Return the network's state dict with the file's values in it."""
    own: dict[str, Tensor] = network.state_dict()
    unused = tuple(getattr(network, "unused_weights", ()))
    unexpected = [key for key in state if key not in own and not key.startswith(unused)]
    missing = [] if partial else [key for key in own if key not in state and not key.endswith(COUNTER)]
    shared = [key for key in own if key in state]
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in shared
        if state[key].shape != own[key].shape
    ]
    whole = [key for key in shared if own[key].is_floating_point() and not state[key].is_floating_point()]
    if whole:
        raise ValueError(
            f"whole numbers where the network has fractions: {some(whole)}. Give weights before quantization"
        )
    if missing or unexpected or shapes:
        raise ValueError(
            f"missing {some(missing)}; unexpected {some(unexpected)}; of another shape {some(shapes)}. Build the "
            f"network with the options that it was trained with, or name the layout ({', '.join(LAYOUTS)})"
        )
    fitting = {key: state[key].to(own[key].dtype) for key in shared}
    broken = [key for key, tensor in fitting.items() if not torch.isfinite(tensor).all()]
    negative = [key for key, tensor in fitting.items() if key.endswith("running_var") and (tensor < 0).any()]
    if broken or negative:
        raise ValueError(f"not finite {some(broken)}; negative variance {some(negative)}. The weights are damaged")
    return own | fitting
