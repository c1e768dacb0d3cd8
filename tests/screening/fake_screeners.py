"""Openers whose screeners misbehave as files in the bundle's folder say. Worker processes import this."""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

from mammofast.bundles import load_bundle
from mammofast.errors import DeviceLostError, EngineError
from mammofast.machine import cores
from mammofast.methods.admission import CardMemory
from mammofast.methods.screener import open_bundle


class Misbehaving:
    """A real screener behind a gate.

    poison: SOP Instance UIDs that kill the process. raise: UIDs that raise. hang: UIDs that never come back, and keep
    Python's lock. stop: UIDs that stop the process, as a machine does that stands still; once. hog: UIDs that take all
    memory. exit: UIDs that end the process in order. lose: UIDs that lose the card, for good; once where it is in
    "passing". dead: while it is there no worker can open the bundle, and one that tries makes "refused"; made
    when an image of "dying" loses the card.
    gate: while it is there images wait: all, or those whose UIDs are in it. started/UID: written for every image begun.
    """

    concurrent = False

    def __init__(self, bundle, device, settings):
        self.folder = Path(bundle)
        self.is_lost = False
        if (self.folder / "dead").exists() and not sys.argv[0].endswith("alone.py"):
            (self.folder / "refused").touch()
            raise EngineError("no card answers")
        self.real = open_bundle(bundle, device, settings)
        self.bundle_id, self.settings_id = self.real.bundle_id, self.real.settings_id

    def _listed(self, name):
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def _waits(self, uid):
        try:
            waiting = (self.folder / "gate").read_text().split()
        except FileNotFoundError:
            return False
        return not waiting or uid in waiting

    def screen_images(self, images):
        (self.folder / "started").mkdir(exist_ok=True)
        for image in images:
            uid = image.record.sop_uid
            with (self.folder / "started" / uid).open("a") as file:
                file.write(f"{os.getpid()}\n")
            if uid in self._listed("poison"):
                os.kill(os.getpid(), signal.SIGKILL)
            if uid in self._listed("lose"):
                self.is_lost = True
                if uid in self._listed("passing"):
                    (self.folder / "lose").unlink()
                if uid in self._listed("dying"):
                    (self.folder / "dead").touch()
            if self.is_lost:
                raise DeviceLostError("card 0 is lost to this process (an illegal memory access)")
            if uid in self._listed("raise"):
                raise RuntimeError("Doe^Jane")
            if uid in self._listed("exit"):
                os._exit(5)
            if uid in self._listed("hang"):
                ctypes.PyDLL(None).sleep(10**6)
            if uid in self._listed("stop"):
                (self.folder / "stop").unlink()
                os.kill(os.getpid(), signal.SIGSTOP)
            if uid in self._listed("hog"):
                held = []
                while True:
                    held.append(b"x" * (8 << 20))
                    time.sleep(0.005)
            if uid in self._listed("hold"):
                ctypes.PyDLL(None).sleep(600)
            while self._waits(uid):
                time.sleep(0.01)
        return self.real.screen_images(images)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.real.close()


def misbehaving(bundle, device, settings):
    return Misbehaving(bundle, device, settings)


class OnCard(Misbehaving):
    """As if on a card: the bundle's networks for the CPU lie in its folder "cpu". opened/PID: what this worker saw."""

    memory = CardMemory(engines=100, images=200, pinned_buffers=3, pinned_bytes=40)

    def __init__(self, bundle, device, settings):
        super().__init__(Path(bundle) / "cpu", "cpu", None)
        self.bundle_id, self.settings_id = load_bundle(bundle).id, settings.id
        seen = {"visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "device": device, "cores": cores()}
        (Path(bundle) / "opened").mkdir(exist_ok=True)
        (Path(bundle) / "opened" / str(os.getpid())).write_text(json.dumps(seen))


def on_card(bundle, device, settings):
    return OnCard(bundle, device, settings)


class OtherBundle(Misbehaving):
    def __init__(self, bundle, device, settings):
        super().__init__(bundle, device, settings)
        self.bundle_id = "0" * 64


def other_bundle(bundle, device, settings):
    return OtherBundle(bundle, device, settings)


def open_screeners():
    """Return how many runs this worker process holds a bundle open for."""
    from mammofast.screening import worker

    return len(worker._OPEN)
