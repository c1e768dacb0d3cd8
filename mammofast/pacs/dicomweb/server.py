"""One DICOMweb server: requests with credentials and TLS, tried again where that may help, errors in plain words.

No error and no log line holds a URL below the server's root: what is searched for may be a patient.
"""

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from mammofast.errors import PacsError
from mammofast.pacs.causes import BROKEN_OFF, cause

# Seconds before each new try.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
_LONGEST_WAIT = 60.0
_TIMEOUTS = (10.0, 60.0)  # to connect, and between two pieces of an answer
# A server that trickles keeps each of its pieces within the time above.
_DEADLINE = 900.0
_PIECE = 1 << 18
_MAX_JSON_BYTES = 1 << 26
_ANSWERS = frozenset({200, 202, 204})
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# So many requests in a row that failed with all their tries: the next ones get one try each.
_GIVES_UP_AFTER = 8
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,60}")

_Read = TypeVar("_Read")


class Unreachable(PacsError):
    """The server does not answer at all."""


class HttpError(PacsError):
    """The server answers with an HTTP status that says no."""

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class BrokenAnswer(PacsError):
    """The answer is cut off; another try may get all of it."""


class Server:
    """A DICOMweb server by its root, say https://pacs:8443/dicom-web; a context manager that several threads may use.

    Credentials are read from the environment, never from a command line: MAMMOFAST_PACS_TOKEN, sent as a bearer token,
    or MAMMOFAST_PACS_USER and MAMMOFAST_PACS_PASSWORD; without them from .netrc, or the file that NETRC names.

    Parameters
    ----------
    root: scheme, host, port and path; no user, no query.
    ca: file of the certificates that the server's must be signed by; None for those that the system trusts.
    waits: seconds before each new try of what failed for want of a connection, or with a status that may pass.

    Raises
    ------
    PacsError
        When a user is set without a password, or the CA file is not there.

    """

    def __init__(self, root: str, ca: Path | None = None, waits: Iterable[float] = WAITS) -> None:
        self.root = root
        self._verify: str | bool = True
        if ca is not None:
            if not ca.is_file():
                raise PacsError("there is no file of CA certificates at the path given with --ca")
            self._verify = str(ca)
        self._waits = tuple(waits)
        self._failed_in_a_row = 0
        self._has_answered = False
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=64, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._session.headers["User-Agent"] = "mammofast"
        self._session.auth = _credentials()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def credentials_are_exposed(self) -> bool:
        """Whether a user and password, or a token, can be read on their way."""
        parts = urlsplit(self.root)
        private = parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
        if private:
            return False
        return self._session.auth is not None or requests.utils.get_netrc_auth(self.root) is not None

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def get(
        self,
        path: str,
        accept: str,
        read: Callable[[requests.Response], _Read],
        query: Iterable[tuple[str, str]] = (),
    ) -> _Read:
        """GET root + path, read the answer; both again where they fail for reasons that may pass.

        Raises
        ------
        PacsError
            When it does not succeed: Unreachable, HttpError, BrokenAnswer; or what ``read`` raises.

        """
        # A wildcard as it stands, which a URL may hold: Orthanc 1.10 takes what it is encoded to for itself.
        asked = urlencode(list(query), safe="*,", quote_via=quote)

        def once() -> _Read:
            return self.request("GET", path, read, params=asked, headers={"Accept": accept})

        return self.again(once)

    def get_json(self, path: str, query: Iterable[tuple[str, str]] = ()) -> Any:
        """GET DICOM JSON; None where the server says that there is nothing."""
        return self.get(path, "application/dicom+json", read_json, query)

    def _cause(self, error: Exception) -> str:
        why = cause(error)
        # What wants TLS hangs up on whoever speaks none.
        is_it_tls = why == BROKEN_OFF and self.root.startswith("http:") and not self._has_answered
        return f"{why}; does it want https?" if is_it_tls else why

    def again(self, attempt: Callable[[], _Read]) -> _Read:
        """Call until it succeeds, its error is for good, or all tries are used up."""
        waits = iter(self._waits if self._failed_in_a_row < _GIVES_UP_AFTER else ())
        while True:
            try:
                result = attempt()
            except PacsError as error:
                wait = next(waits, None) if may_pass(error) else None
                if wait is None:
                    self._failed_in_a_row += may_pass(error)
                    raise
                time.sleep(max(wait, getattr(error, "retry_after", 0.0)) * random.uniform(0.8, 1.2))
            else:
                self._failed_in_a_row = 0
                return result

    def request(
        self,
        method: str,
        path: str,
        read: Callable[[requests.Response], _Read],
        answers: frozenset[int] = _ANSWERS,
        **options: Any,
    ) -> _Read:
        """Send one request, once; follow redirects that stay with the server. answers: statuses with a body to read."""
        url = self.root + path
        for _ in range(4):
            try:
                with self._session.request(
                    method,
                    url,
                    stream=True,
                    allow_redirects=False,
                    timeout=_TIMEOUTS,
                    # Given for each request: a CA of the environment's would take the place of the session's.
                    verify=self._verify,
                    **options,
                ) as response:
                    self._has_answered = True
                    if response.status_code not in _REDIRECTS:
                        if response.status_code not in answers:
                            raise _refusal(response)
                        return read(response)
                    target = urljoin(url, response.headers.get("Location", ""))
            except requests.exceptions.SSLError as error:
                advice = "give its CA's certificate with --ca FILE" if "certificate" in cause(error) else "is it http?"
                raise PacsError(f"no TLS connection to the server: {cause(error)}; {advice}") from None
            except requests.exceptions.ChunkedEncodingError:
                raise BrokenAnswer("the server's answer broke off") from None
            except requests.ConnectTimeout:
                raise Unreachable(f"no connection to the server within {_TIMEOUTS[0]:.0f} s") from None
            except requests.ReadTimeout:
                raise Unreachable(f"the server says nothing for {_TIMEOUTS[1]:.0f} s") from None
            except requests.ConnectionError as error:
                raise Unreachable(f"no connection to the server: {self._cause(error)}") from None
            except requests.RequestException as error:
                raise PacsError(f"the server cannot be asked ({type(error).__name__})") from None
            if urlsplit(target)[:2] != urlsplit(self.root)[:2]:
                # Credentials, and what is searched for, are this server's business alone.
                raise PacsError("the server redirects to another host or scheme; give that URL if it is the right one")
            url, options = target, {key: value for key, value in options.items() if key != "params"}
        raise PacsError("the server redirects in a circle")


def may_pass(error: PacsError) -> bool:
    """Say whether another try may get past an error."""
    return isinstance(error, (Unreachable, BrokenAnswer)) or getattr(error, "status", 0) in _TRANSIENT


def pieces(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it arrives."""
    begun = time.monotonic()
    for piece in response.iter_content(_PIECE):
        yield piece
        if time.monotonic() - begun > _DEADLINE:
            raise BrokenAnswer(f"the server took more than {_DEADLINE:.0f} s to answer")


def media_type(response: requests.Response) -> str:
    """Return the media type without parameters, if it is one: a server may say anything."""
    said = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return said if _MEDIA_TYPE.fullmatch(said) else "no media type"


def read_json(response: requests.Response) -> Any:
    """Read a body of JSON; None where there is none."""
    if response.status_code == 204:
        return None
    body = bytearray()
    for piece in pieces(response):
        body += piece
        if len(body) > _MAX_JSON_BYTES:
            raise PacsError(f"the server's answer to a search has more than {_MAX_JSON_BYTES} bytes")
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise PacsError(
            f"the server sent {media_type(response)} instead of DICOM JSON; is the URL its DICOMweb root, "
            "say https://pacs/dicom-web?"
        ) from None


def _refusal(response: requests.Response) -> HttpError:
    status = response.status_code
    advice = ""
    if status in (401, 403):
        given = (
            "it refuses the user, or token, that it was given; " if "Authorization" in response.request.headers else ""
        )
        advice = (
            f": {given}set MAMMOFAST_PACS_USER and MAMMOFAST_PACS_PASSWORD, or MAMMOFAST_PACS_TOKEN, "
            "or have the host in your .netrc"
        )
    elif status in (400, 404, 405):
        advice = ": is the URL its DICOMweb root, say https://pacs/dicom-web?"
    said = response.headers.get("Retry-After", "")
    retry_after = min(float(said), _LONGEST_WAIT) if said.isdecimal() else 0.0
    return HttpError(status, f"the server answers with HTTP status {status}{advice}", retry_after)


class _Token(requests.auth.AuthBase):  # type: ignore[misc]
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _credentials() -> Any:
    """Return what the environment holds; None leaves it to requests to look into .netrc."""
    if token := os.environ.get("MAMMOFAST_PACS_TOKEN"):
        return _Token(token)
    user, password = os.environ.get("MAMMOFAST_PACS_USER"), os.environ.get("MAMMOFAST_PACS_PASSWORD")
    if bool(user) != bool(password):
        raise PacsError("of MAMMOFAST_PACS_USER and MAMMOFAST_PACS_PASSWORD one is set: set both, or neither")
    return (user, password) if user else None
