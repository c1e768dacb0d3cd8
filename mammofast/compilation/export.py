"""Networks in PyTorch as fp32 ONNX."""

import io
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

OPSET = 18


def export(
    network: nn.Module, example: Tensor, name: str, outputs: Sequence[str], axes: Mapping[str, Mapping[int, str]]
) -> bytes:
    """Trace a network, which is set to eval, and return ONNX with its weights inside.

    example: an input of the shape that fixed axes keep. name: of the input. outputs: their names.
    axes: of each tensor, the axes that stay free, by what they count.
    """
    network.eval()
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is called legacy, but the other needs a package that nothing else here does; what it
        # warns of while tracing are the sizes that are to be constants.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        torch.onnx.export(
            network,
            (example,),
            file,
            input_names=[name],
            output_names=list(outputs),
            dynamic_axes={tensor: dict(free) for tensor, free in axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()
