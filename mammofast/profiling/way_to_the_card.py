"""What of a run on a card is the way there and back."""

from collections.abc import Mapping
from time import perf_counter

from mammofast.engine.base import Tensor
from mammofast.engine.on_device import DeviceEngine
from mammofast.profiling.sampling import Effort
from mammofast.profiling.statistics import summarize

STEPS = ("host_to_device", "compute", "device_to_host")


def split_ms(engine: DeviceEngine, tensors: Mapping[str, Tensor], effort: Effort) -> dict[str, float]:
    """Return the median milliseconds of each of ``STEPS``, waited for one after the other.

    Together they are more than a run, which waits once.
    """
    taken: dict[str, list[float]] = {step: [] for step in STEPS}
    engine.run(tensors)
    until = perf_counter() + effort.seconds
    while len(taken[STEPS[0]]) < effort.at_least or perf_counter() < until:
        start = perf_counter()
        arrays = engine.upload(tensors)
        engine.synchronize()
        uploaded = perf_counter()
        outputs = engine.run_on_device(arrays, engine.stream)
        engine.synchronize()
        computed = perf_counter()
        engine.download(outputs)
        for step, seconds in zip(
            STEPS, (uploaded - start, computed - uploaded, perf_counter() - computed), strict=True
        ):
            taken[step].append(seconds)
    return {step: summarize(values)["p50"] for step, values in taken.items()}
