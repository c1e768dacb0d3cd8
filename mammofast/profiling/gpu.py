"""How busy NVIDIA's GPUs are meanwhile, where there are any; read from nvidia-smi."""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_EVERY_MS = 100
_QUERY = ("--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", f"--loop-ms={_EVERY_MS}")


@dataclass(slots=True)
class GpuWatch:
    """What was seen: (time on the monotonic clock, share of the time at work, MiB in use), a line for each GPU."""

    seen: list[tuple[float, float, float]] = field(default_factory=list)

    def between(self, start: float, end: float) -> dict[str, float] | None:
        """Return the mean ``share_busy`` and the peak ``memory_mib`` of a time; None where no GPU was seen."""
        seen = [values for values in self.seen if start <= values[0] <= end]
        if not seen:
            return None
        return {
            "share_busy": sum(share for _, share, _ in seen) / len(seen),
            "memory_mib": max(mib for _, _, mib in seen),
        }

    def _read(self, lines: Iterator[str]) -> None:
        for line in lines:
            try:
                percent, mib = (float(value) for value in line.split(","))
            except ValueError:  # a GPU that does not say, or words of an error
                continue
            self.seen.append((time.monotonic(), percent / 100, mib))


@contextmanager
def watched_gpus() -> Iterator[GpuWatch]:
    """Look at all GPUs while the block runs; see nothing where there are none."""
    watch = GpuWatch()
    command = shutil.which("nvidia-smi")
    if command is None:
        yield watch
        return
    with subprocess.Popen([command, *_QUERY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        reader = threading.Thread(target=watch._read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            yield watch
        finally:
            process.terminate()
            reader.join()
