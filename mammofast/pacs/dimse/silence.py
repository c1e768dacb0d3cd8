"""An association's silences, bounded: what counts is the next sign of life, and not how long a transfer takes."""

import contextlib
import math
import queue
import time
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider

from mammofast.pacs.waiting import Wait

_PIECE = 1 << 16  # to be taken within one silence
# How often one who waits for an answer looks whether there is a connection.
_LOOK_SECONDS = 0.2


def bound_silence(event: Any) -> None:
    """Handle EVT_CONN_OPEN: wait for a sign of life no longer than is allowed, or than there is a connection.

    pynetdicom 3.0 waits for the rest of a PDU, and to be rid of its own, for ever; and for the answer to an object from
    when it is begun to be sent, however slow the line is.
    """
    connection, association = event.assoc.dul.socket, event.assoc
    with contextlib.suppress(OSError):
        connection.socket.settimeout(association.network_timeout)
    association.dimse = provider = BoundedProvider(association)

    def send(data: bytes) -> None:
        try:
            left = memoryview(data)
            while left:
                left = left[connection.socket.send(left[:_PIECE]) :]
                provider.heard()
        except (OSError, AttributeError) as error:  # the latter where it is closed
            provider.was_silent |= isinstance(error, TimeoutError)
            connection.event_queue.put("Evt17")

    connection.send = send


class BoundedProvider(DIMSEServiceProvider):  # type: ignore[misc]
    """Takes the place of an association's DIMSE provider. wait: what is told of each sign of life."""

    wait: Wait | None = None
    was_silent = False  # which the last wait for an answer ended with

    def heard(self) -> None:
        """Note a sign of life."""
        self._heard_at = time.monotonic()
        if self.wait is not None:
            self.wait.heard()

    def get_msg(self, block: bool = False) -> Any:
        """Return (context, message), or (None, None) after the silence allowed, or once there is no connection."""
        if not block:
            return super().get_msg()
        self.heard()
        self.was_silent = False
        while self.msg_queue.empty() and self.dul.is_alive() and not self.was_silent:
            with contextlib.suppress(queue.Empty):
                return self.msg_queue.get(timeout=_LOOK_SECONDS)
            self.was_silent = time.monotonic() - self._heard_at > (self.dimse_timeout or math.inf)
        return super().get_msg()
