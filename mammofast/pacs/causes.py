"""Why there is no connection, in words that say where to look; none of them is the other side's own."""

import socket
import ssl
from collections.abc import Iterator

BROKEN_OFF = "the connection broke off"
_EXPIRED, _ANOTHER_HOST, _ANOTHER_ADDRESS = 10, 62, 64  # X509_V_ERR_…
_PLAIN = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})


def cause(error: BaseException) -> str:
    """Return what is behind an error of a connection, however a library has wrapped it."""
    found = None
    for each in _chain(error):
        found = _in_words(each) or found
    return found or type(error).__name__


def is_silence(error: BaseException) -> bool:
    """Say whether it is for want of an answer that there is an error."""
    return any(isinstance(each, TimeoutError) for each in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _in_words(error: BaseException) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return {
                _EXPIRED: "its certificate has expired",
                _ANOTHER_HOST: "its certificate is another host's",
                _ANOTHER_ADDRESS: "its certificate is another host's",
            }.get(error.verify_code, "its certificate is not trusted")
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return BROKEN_OFF
        case ssl.SSLError():
            reason = getattr(error, "reason", None) or "no reason given"
            return "it does not speak TLS" if reason in _PLAIN else f"TLS fails ({reason})"
        case socket.gaierror():
            return "the host's name is not known"
        case ConnectionRefusedError():
            return "refused: nothing listens there, or a firewall is between"
        case ConnectionError():
            return BROKEN_OFF
        case TimeoutError():
            return "no answer in time"
        case OSError() if error.errno is not None:
            return error.strerror
    return None
