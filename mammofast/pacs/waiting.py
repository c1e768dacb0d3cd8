"""What is waited for, said once that takes long: by a thread of its own, as who waits cannot say it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

# Seconds of silence before a word, and before the same word is said again.
AFTER = 10.0
_LOOKS = 10  # in that time

Tell = Callable[[str], None]


class Wait:
    """One thing that is waited for. what: such as "to answer a search". limit: seconds of silence it is given."""

    def __init__(self, what: str, limit: float) -> None:
        self.what, self.limit = what, limit
        self.is_said = False
        self.heard()

    def heard(self) -> None:
        """Note a sign of life: a piece that came, or was taken."""
        self._heard_at = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._heard_at


class Waiting:
    """All that one command waits for from a PACS; a context manager, of which several threads may make use.

    tell: is called with a line about a wait that takes long; without it nothing is said, and there is no thread.
    """

    def __init__(self, tell: Tell | None = None) -> None:
        self._tell = tell
        self._waits: set[Wait] = set()
        self._said_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None
        self._ended = threading.Event()

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Say nothing any more."""
        self._ended.set()

    def say(self, words: str) -> None:
        """Tell a line, unless the same was told just now: several threads may wait for the same thing."""
        if self._tell is None:
            return
        with self._lock:
            now = time.monotonic()
            if now - self._said_at.get(words, -AFTER) < AFTER:
                return
            self._said_at[words] = now
        self._tell(words)

    @contextlib.contextmanager
    def on(self, what: str, limit: float) -> Iterator[Wait]:
        """Wait for something while the block runs."""
        wait = Wait(what, limit)
        with self._lock:
            self._waits.add(wait)
            if self._tell is not None and self._watch is None:
                self._watch = threading.Thread(target=self._look, name="waiting", daemon=True)
                self._watch.start()
        try:
            yield wait
        finally:
            with self._lock:
                self._waits.discard(wait)

    def _look(self) -> None:
        while not self._ended.wait(AFTER / _LOOKS):
            with self._lock:
                late = [wait for wait in self._waits if wait.silence > AFTER and not wait.is_said]
            for wait in late:
                wait.is_said = True
                self.say(
                    f"waiting for the PACS {wait.what}: nothing for {AFTER:.0f} s, "
                    f"of {wait.limit:.0f} s that it is given"
                )
