"""A network under the method's names: what lets a bundle take any ONNX file as it is."""

from collections.abc import Mapping

import numpy as np

from mammofast.bundles.manifest import Network, Output
from mammofast.engine import Engine, TensorSpec
from mammofast.engine.base import Tensor
from mammofast.errors import BundleError

_CHANNEL_AXIS = 1


class MappedEngine(Engine):
    """An engine whose inputs and outputs have a manifest's names; it owns the engine inside."""

    def __init__(self, engine: Engine, network: Network, where: str) -> None:
        theirs = {tensor: name for name, tensor in network.inputs.items()}
        _check_known(theirs, engine.inputs, f"{where}: 'inputs'")
        _check_known((output.tensor for output in network.outputs.values()), engine.outputs, f"{where}: 'outputs'")
        inputs = tuple(TensorSpec(theirs.get(s.name, s.name), s.shape, s.dtype) for s in engine.inputs)
        if len({spec.name for spec in inputs}) < len(engine.inputs) or len(theirs) < len(network.inputs):
            raise BundleError(
                f"{where}: 'inputs' must give each of {[s.name for s in engine.inputs]} a name of its own"
            )
        outputs = {spec.name: Output(spec.name) for spec in engine.outputs} | dict(network.outputs)
        specs = {spec.name: spec for spec in engine.outputs}
        super().__init__(inputs, tuple(_mapped(name, o, specs[o.tensor], where) for name, o in outputs.items()))
        self._engine = engine
        self._theirs = dict(network.inputs)
        self._outputs = outputs

    def _run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = self._engine._run({self._theirs.get(name, name): tensor for name, tensor in tensors.items()})
        return {name: _finished(found[output.tensor], output) for name, output in self._outputs.items()}

    def _close(self) -> None:
        self._engine.close()


def _check_known(names: object, specs: tuple[TensorSpec, ...], where: str) -> None:
    known = [spec.name for spec in specs]
    if unknown := sorted(set(names) - set(known)):  # type: ignore[call-overload]
        raise BundleError(f"{where} names {unknown}, the file has {known}")


def _mapped(name: str, output: Output, spec: TensorSpec, where: str) -> TensorSpec:
    shape = spec.shape
    if output.channel is not None or output.activation == "softmax":
        if len(shape) <= _CHANNEL_AXIS:
            raise BundleError(f"{where}: output {name!r} has no axis 1 to take channels from, its shape is {shape}")
        channels = shape[_CHANNEL_AXIS]
        if output.channel is not None and channels is not None and output.channel >= channels:
            raise BundleError(f"{where}: output {name!r} has {channels} channels, none of index {output.channel}")
    if output.channel is not None:
        shape = (*shape[:_CHANNEL_AXIS], 1, *shape[_CHANNEL_AXIS + 1 :])
    return TensorSpec(name, shape, spec.dtype)


def _finished(values: Tensor, output: Output) -> Tensor:
    """Apply what the file leaves to be done."""
    if output.activation != "none":
        # A sigmoid would make a plain 1 of an infinity, and what a network could not compute must be seen.
        values = np.where(np.isfinite(values), values, np.float32(np.nan))
    if output.activation == "sigmoid":
        with np.errstate(over="ignore"):
            values = np.divide(1, 1 + np.exp(-values), dtype=np.float32)
    elif output.activation == "softmax":
        powers = np.exp(values - values.max(axis=_CHANNEL_AXIS, keepdims=True))
        values = powers / powers.sum(axis=_CHANNEL_AXIS, keepdims=True)
    elif output.activation == "tanh":
        values = np.divide(values + 1, 2, dtype=np.float32)
    if output.channel is not None:
        values = values[:, output.channel : output.channel + 1]
    return np.ascontiguousarray(values)
