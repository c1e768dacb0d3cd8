"""What tests see of a run from outside: what it left, what it began, when something has come about."""

import time
from pathlib import Path


def snapshot(results):
    """Results by name, each with its bytes."""
    return {path.name: path.read_bytes() for path in Path(results).glob("images/*/[!.]*")}


def wait_until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def started(folder):
    """SOP Instance UIDs that a misbehaving screener began, each with the processes that did."""
    texts = {path.name: path.read_text().split() for path in folder.glob("started/*")}
    return {uid: processes for uid, processes in texts.items() if processes}  # a file is there before its first line
