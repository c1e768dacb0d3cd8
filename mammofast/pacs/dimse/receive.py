"""Storage SCP (PS3.4 B): mammograms and MR received by C-STORE, each durable before its sender is told of success."""

import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Any

from pynetdicom import AE, evt

from mammofast.archive import mammogram
from mammofast.archive.codecs import DECODERS
from mammofast.archive.sources import MAX_FILE_BYTES
from mammofast.archive.volumes import triage as mr
from mammofast.errors import PacsError
from mammofast.pacs.dimse.arriving import SpoolingProvider
from mammofast.pacs.dimse.entity import Credentials, close_surely
from mammofast.pacs.dimse.spool import Spool

_VERIFICATION = "1.2.840.10008.1.1"
# What an archive keeps of each modality.
_CLASSES = {"MG": mammogram.KEPT_CLASSES, "MR": mr.KEPT_CLASSES}
_SUCCESS, _OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
# What we ask senders to keep to, and what we hang up on: a PDU is in memory some four times.
_MAX_PDU_BYTES = 1 << 18
_REFUSED_PDU_BYTES = 1 << 20
_MAX_ASSOCIATIONS = 16
_TIMEOUT = 60.0
_FIRST_WORD_TIMEOUT = 30.0  # of who has connected, and not asked for an association yet
# How long associations may go on after we are told to end.
_GRACE = 2.0
_LAST_WORD = 0.2


class Receiver:
    """A Storage SCP, listening while it is entered; a context manager.

    Accepted are the SOP classes that an archive keeps, in the transfer syntaxes that it decodes, and C-ECHO.

    Parameters
    ----------
    spool: where objects go. aet: our title; who calls another is refused.
    bind, port: where to listen; port 0 takes a free one, see ``port``.
    allow: titles that may call; all, where there is none.
    modalities: "MG", "MR": whose SOP classes are accepted.

    Raises
    ------
    PacsError
        When entered, and the port cannot be listened on.

    """

    def __init__(
        self,
        spool: Spool,
        aet: str,
        port: int,
        bind: str = "127.0.0.1",
        allow: Iterable[str] = (),
        tls: Credentials | None = None,
        modalities: Iterable[str] = ("MG",),
    ) -> None:
        self.port = port
        self.sop_classes = tuple(each for modality in modalities for each in _CLASSES[modality])
        self._spool, self._bind, self._tls = spool, bind, tls
        self._entity = AE(aet)
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = list(allow)
        self._entity.maximum_associations = _MAX_ASSOCIATIONS
        self._entity.maximum_pdu_size = _MAX_PDU_BYTES
        self._entity.acse_timeout = _FIRST_WORD_TIMEOUT
        self._entity.dimse_timeout = self._entity.network_timeout = _TIMEOUT
        self._entity.add_supported_context(_VERIFICATION)
        for sop_class in self.sop_classes:
            self._entity.add_supported_context(sop_class, list(DECODERS))
        self._last_object = 0.0

    def __enter__(self) -> "Receiver":
        # Its messages quote what peers send. They are for nobody, whatever the program logs otherwise.
        logging.getLogger("pynetdicom").propagate = False
        handlers = [
            (evt.EVT_CONN_OPEN, close_surely),
            (evt.EVT_CONN_OPEN, _limit),
            (evt.EVT_CONN_OPEN, self._spool_what_arrives),
            (evt.EVT_CONN_CLOSE, _discard),
            (evt.EVT_C_STORE, self._store),
        ]
        context = None if self._tls is None else self._tls.context(server=True)
        try:
            self._server = self._entity.start_server(
                (self._bind, self.port), block=False, ssl_context=context, evt_handlers=handlers
            )
        except OSError as error:
            raise PacsError(f"cannot listen on {self._bind}, port {self.port} ({error.strerror})") from None
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        end = time.monotonic() + _GRACE
        while self._server.active_associations and time.monotonic() < end:
            time.sleep(0.02)
        left = self._server.active_associations
        for association in left:
            association.abort(block=False)
        end = time.monotonic() + _LAST_WORD
        while any(association.dul.is_alive() for association in left) and time.monotonic() < end:
            time.sleep(0.02)
        for association in left:
            # Whoever is read from in the middle of a word: who aborts would wait for the rest of it.
            association.dul.socket._shutdown_socket()
            association.kill()

    def is_quiet(self, seconds: float) -> bool:
        """Say whether nobody is connected, or has sent an object for some seconds."""
        return time.monotonic() - self._last_object > seconds or not self._server.active_associations

    def _spool_what_arrives(self, event: Any) -> None:
        event.assoc.dimse = SpoolingProvider(event.assoc, self._spool)

    def _store(self, event: Any) -> int:
        try:
            event.request.DataSet.keep()
        except OSError:
            return _OUT_OF_RESOURCES
        except Exception:
            return _CANNOT_UNDERSTAND
        finally:
            event.assoc.dul.socket.received = 0
            self._last_object = time.monotonic()
        return _SUCCESS


def _discard(event: Any) -> None:
    """Leave nothing of what its sender did not end."""
    event.assoc.dimse.discard()


def _limit(event: Any) -> None:
    """Hang up on whoever announces more than is ever read: a PDU is held in memory, an object on the disk."""
    connection = event.assoc.dul.socket
    connection.received = 0
    receive = connection.recv

    def bounded(size: int) -> bytearray:
        connection.received += size
        if size > _REFUSED_PDU_BYTES or connection.received > MAX_FILE_BYTES:
            raise OSError("more than is ever read")
        data: bytearray = receive(size)
        return data

    connection.recv = bounded
    with contextlib.suppress(OSError):
        connection.socket.settimeout(_TIMEOUT)
