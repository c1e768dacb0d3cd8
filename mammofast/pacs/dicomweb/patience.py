"""How often a server is asked again, after how long, and when it is enough."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from mammofast.errors import PacsError
from mammofast.pacs.dicomweb.failures import HttpError, ServerError, Silent, Unreachable, may_pass

# Seconds before each new try.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
# Where the server says nothing: each costs as long as a silence may last.
_SILENT_TRIES = 3
# So many requests in a row that failed with all their tries: the next ones get one try each.
_HURRIES_AFTER = 8
# So many of a kind in a row that were met with silence, all but the first with one try: it is enough.
_SILENT_AT_MOST = 5

_Result = TypeVar("_Result")


class Patience:
    """What is known of a server's failures; several threads may share it.

    waits: seconds before each new try; WAITS where None. say: is told of each new try.
    """

    def __init__(self, waits: Iterable[float] | None, say: Callable[[str], None]) -> None:
        self._waits = tuple(WAITS if waits is None else waits)
        self._say = say
        self._is_ended = False
        self._failed_in_a_row = 0
        self._silent_in_a_row: Counter[str] = Counter()

    def end(self) -> None:
        """Try nothing again: nobody wants it any more."""
        self._is_ended = True

    def check(self) -> None:
        """Raise Unreachable where nothing more is to be asked of the server: it was waited for in vain too often."""
        if self._is_ended:
            raise Unreachable("stopped")
        for what, times in list(self._silent_in_a_row.items()):
            if times >= _SILENT_AT_MOST:
                enough = Unreachable(
                    f"{times} times in a row the PACS was waited for {what}, in vain: "
                    "look at the PACS, and run again to go on"
                )
                enough.given_up = what
                raise enough

    def again(self, attempt: Callable[[], _Result], what: str) -> _Result:
        """Call until it succeeds, its error is for good, or all tries are used up. what: the kind of request."""
        tried = 0
        while True:
            self.check()
            try:
                result = attempt()
            except PacsError as error:
                tried += 1
                tries = self._tries(error, what)
                if tried >= tries:
                    self._failed(error, what)
                    raise
                wait = max(self._waits[tried - 1], error.retry_after if isinstance(error, HttpError) else 0.0)
                self._say(f"{error}; asked again in {wait:g} s, try {tried + 1} of {tries}")
                time.sleep(wait * random.uniform(0.8, 1.2))
            else:
                self._failed_in_a_row = self._silent_in_a_row[what] = 0
                return result

    def _tries(self, error: PacsError, what: str) -> int:
        if self._is_ended or not may_pass(error) or self._failed_in_a_row >= _HURRIES_AFTER:
            return 1
        tries = 1 + len(self._waits)
        if isinstance(error, Silent):
            return 1 if self._silent_in_a_row[what] else min(tries, _SILENT_TRIES)
        return tries

    def _failed(self, error: PacsError, what: str) -> None:
        if isinstance(error, ServerError) and may_pass(error):
            self._failed_in_a_row += 1
            self._silent_in_a_row[what] += isinstance(error, Silent)
            error.given_up = what  # also where this is a part of something that is tried again itself
