"""Application entities: how they are named, found and trusted."""

import contextlib
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom import _config

from mammofast.errors import PacsError

# What pynetdicom would say of each message holds patients' names, and costs time.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False

_ADDRESS = re.compile(r"(?P<aet>[^@]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:/\[\]]+):(?P<port>[0-9]{1,5})")
# PS3.5 6.2, value representation AE.
_AET = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")


@dataclass(frozen=True, slots=True)
class Peer:
    """An application entity elsewhere."""

    aet: str
    host: str
    port: int


def parse_peer(text: str) -> Peer:
    """Read AET@HOST:PORT.

    Raises
    ------
    ValueError
        When it is something else.

    """
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise ValueError(f"got {text!r}, expected AET@HOST:PORT, such as PACS@10.0.0.7:104, or a DICOMweb URL")
    return Peer(checked_aet(match["aet"]), match["host"].strip("[]"), int(match["port"]))


def checked_aet(aet: str) -> str:
    """Return an application entity's title; ValueError where it is none."""
    if not _AET.fullmatch(aet):
        raise ValueError(
            f"got {aet!r}, expected an application entity's title: 1 to 16 characters of ASCII, no backslash"
        )
    return aet


def close_surely(event: Any) -> None:
    """Handle EVT_CONN_OPEN: close the socket also where the other side hangs up first, as pynetdicom 3.0 does not."""
    connection = event.assoc.dul.socket
    raw = connection.socket

    def close() -> None:
        with contextlib.suppress(OSError):
            raw.shutdown(socket.SHUT_RDWR)
        raw.close()

    connection._shutdown_socket = close


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files for TLS in both directions: who we are, and who signs the certificates of those we talk to (PS3.15 B)."""

    certificate: Path
    key: Path
    ca: Path

    def context(self, server: bool) -> ssl.SSLContext:
        """Return what wraps a socket: the other side must show a certificate of the CA's, whichever side it is.

        Raises
        ------
        PacsError
            When the files are not there, or do not fit one another.

        """
        context = _Unhurried(ssl.PROTOCOL_TLS_SERVER) if server else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self.ca)
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError is one
            why = getattr(error, "reason", None) or error.strerror or type(error).__name__
            raise PacsError(f"--tls CERT KEY CA: the files cannot be used ({why})") from None
        return context


class _Unhurried(ssl.SSLContext):
    """Leaves the handshake to the association's own thread: whoever connects and says nothing holds up no other."""

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*arguments, **options | {"do_handshake_on_connect": False})
