"""The demo bundle's weights, from its ONNX files into the catalogue's networks, so that PyTorch can run them on a card.

python -m bench.gpu.demo_weights FOLDER

An ONNX file has each batch normalization folded into the convolution before it: here the convolution gets the folded
weights, and the normalization keeps the folded bias and changes nothing else.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from bench.gpu.screening import NETWORKS
from mammofast.bundles import load_bundle
from mammofast.models import create

_WRAPPED = "network."  # how a network's names begin where its probabilities are made in the same file


def unfolded(model: bytes, name: str) -> dict[str, torch.Tensor]:
    """Return the state of a network of the catalogue that computes what an ONNX file of it does.

    Raises
    ------
    ValueError
        When the file's weights are not those of the network.

    """
    folded = _initializers(model)
    network = create(name)
    state = {}
    for key, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            state[f"{key}.weight"] = folded.pop(f"{key}.weight")
            if module.bias is not None:
                state[f"{key}.bias"] = folded.pop(f"{key}.bias")
        elif isinstance(module, torch.nn.BatchNorm2d):
            before, _, number = key.rpartition(".")
            state[f"{key}.bias"] = folded.pop(f"{before}.{int(number) - 1}.bias")
            state[f"{key}.weight"] = torch.ones(module.num_features)
            state[f"{key}.running_mean"] = torch.zeros(module.num_features)
            state[f"{key}.running_var"] = torch.full((module.num_features,), 1 - module.eps)
            state[f"{key}.num_batches_tracked"] = torch.tensor(0)
    if folded:
        raise ValueError(
            f"{name}: got weights {sorted(folded)} that it does not have; the demo's networks have changed"
        )
    network.load_state_dict(state)
    return state


class _Initializers(dict[str, torch.Tensor]):
    def __missing__(self, key: str) -> torch.Tensor:
        raise ValueError(f"got no weights {key}; the demo's networks have changed")

    def pop(self, key: str) -> torch.Tensor:  # type: ignore[override]
        value = self[key]
        del self[key]
        return value


def _initializers(model: bytes) -> _Initializers:
    found: Mapping[str, npt.NDArray[np.float32]] = {
        each.name.removeprefix(_WRAPPED): numpy_helper.to_array(each)
        for each in onnx.load_from_string(model).graph.initializer
    }
    # Other initializers are constants of a step, such as how much is stretched: no layer has names like theirs.
    return _Initializers(
        {key: torch.tensor(value) for key, value in found.items() if key.endswith((".weight", ".bias"))}
    )


def write_weights(folder: Path) -> None:
    """Write ROLE.safetensors for every network of the demo."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle("demo")
    for role, name in NETWORKS.items():
        save_file(unfolded(bundle.read(role), name), folder / f"{role}.safetensors")


def main(arguments: list[str] | None = None) -> int:
    """Write them into the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    write_weights(parser.parse_args(arguments).folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
