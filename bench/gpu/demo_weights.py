"""The demo bundle's weights, from its ONNX files into the catalogue's networks, so that PyTorch can run them on a card.

python -m bench.gpu.demo_weights FOLDER

An ONNX file has each batch normalization folded into the convolution before it: here the convolution gets the folded
weights, and the normalization keeps the folded bias and changes nothing else.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from bench.folded import convolutions
from bench.gpu.screening import NETWORKS
from mammofast.bundles import load_bundle
from mammofast.models import create, find


def unfolded(model: bytes, name: str) -> dict[str, torch.Tensor]:
    """Return the state of a network of the catalogue that computes what an ONNX file of it does.

    Raises
    ------
    ValueError
        When the file's weights are not those of the network.

    """
    network = create(name).eval()
    names = {module: key for key, module in network.named_modules()}
    channels, rows, cols = find(name).input
    state = {}
    for conv, (weight, bias) in convolutions(network, model, torch.zeros(1, channels, rows, cols)):
        key = names[conv]
        state[f"{key}.weight"] = weight
        if conv.bias is not None:
            state[f"{key}.bias"] = bias
            continue
        before, _, number = key.rpartition(".")
        norm = f"{before}.{int(number) + 1}"
        module = network.get_submodule(norm)
        assert isinstance(module, torch.nn.BatchNorm2d)
        state[f"{norm}.bias"] = bias
        state[f"{norm}.weight"] = torch.ones(module.num_features)
        state[f"{norm}.running_mean"] = torch.zeros(module.num_features)
        state[f"{norm}.running_var"] = torch.full((module.num_features,), 1 - module.eps)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    network.load_state_dict(state)
    return state


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
