"""A card without a card: a stream and a host, each with a clock that only moves when something is asked of them."""

import numpy as np

from mammofast.profiling.device import timing


class FakeCard:
    """Calls take ``launch`` seconds of the host, and on the card what they say; copies run at two rates."""

    name, clock, torch_device = "a card", "nothing", "cpu"
    emulated = alone = False
    l2_bytes = 1 << 20
    forms = None

    def __init__(self, monkeypatch, launch=1e-5, memory=1e12, l2=4e12):
        self.now = 0.0  # the host's clock
        self.free = 0.0  # when the stream will have done all it was given
        self.launch, self.rates = launch, {"memory": memory, "l2": l2}
        self.done = []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def work(self, seconds, name="work", launch=None):
        def call():
            self.now += self.launch if launch is None else launch
            self.free = max(self.free, self.now) + seconds
            self.done.append(name)
            return np.array([7])

        return call

    def waiting_work(self, seconds, name="waiting"):
        call = self.work(seconds, name)

        def both():
            call()
            self.wait()
            return np.array([7])

        return both

    def put(self, array):
        return array

    def get(self, array):
        return array

    def copying(self, n_bytes):
        rate = self.rates["l2" if 2 * n_bytes <= self.l2_bytes else "memory"]
        return self.work(2 * n_bytes / rate, f"copy {n_bytes}")

    def mark(self):
        self.now += 1e-6
        return max(self.free, self.now)

    def seconds(self, start, end):
        self.now = max(self.now, end)
        return end - start

    def hold(self, seconds):
        self.free = max(self.free, self.now) + seconds

    def wait(self):
        self.now = max(self.now, self.free)
