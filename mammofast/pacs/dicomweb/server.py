"""One DICOMweb server: requests with credentials and TLS, tried again where that may help, errors in plain words.

No error and no log line holds a URL below the server's root: what is searched for may be a patient.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from mammofast.errors import PacsError
from mammofast.pacs.causes import BROKEN_OFF, cause, is_silence
from mammofast.pacs.dicomweb.answer import Answer
from mammofast.pacs.dicomweb.failures import BrokenAnswer, Silent, Unreachable, refusal
from mammofast.pacs.dicomweb.patience import Patience
from mammofast.pacs.waiting import Tell, Wait, Waiting

_TIMEOUTS = (10.0, 60.0)  # to connect, and between two signs of life
_ANSWERS = frozenset({200, 202, 204})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_Read = TypeVar("_Read")
_SEARCH = "to answer a search"


class Server:
    """A DICOMweb server by its root, say https://pacs:8443/dicom-web; a context manager that several threads may use.

    Credentials are read from the environment, never from a command line: MAMMOFAST_PACS_TOKEN, sent as a bearer token,
    or MAMMOFAST_PACS_USER and MAMMOFAST_PACS_PASSWORD; without them from .netrc, or the file that NETRC names.

    Parameters
    ----------
    root: scheme, host, port and path; no user, no query.
    ca: file of the certificates that the server's must be signed by; None for those that the system trusts.
    waits: seconds before each new try of what failed for want of a connection, or with a status that may pass; None
        for the usual ones.
    tell: is called with a line where something is waited for, or asked again.

    Raises
    ------
    PacsError
        When a user is set without a password, or the CA file is not there.

    """

    def __init__(
        self, root: str, ca: Path | None = None, waits: Iterable[float] | None = None, tell: Tell | None = None
    ) -> None:
        self.root = root
        self._verify: str | bool = True
        if ca is not None:
            if not ca.is_file():
                raise PacsError("there is no file of CA certificates at the path given with --ca")
            self._verify = str(ca)
        self._waiting = Waiting(tell)
        self.patience = Patience(waits, self._waiting.say)
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

    def end(self) -> None:
        """Ask for nothing more; who waits for an answer on another thread still does, but only once."""
        self.patience.end()
        self._waiting.say(
            f"stopping; what the PACS was asked for is waited for, at most {_TIMEOUTS[1]:.0f} s of silence"
        )

    def close(self) -> None:
        """Close all connections."""
        self._waiting.close()
        self._session.close()

    def get(
        self,
        path: str,
        accept: str,
        read: Callable[[Answer], _Read],
        query: Iterable[tuple[str, str]] = (),
        what: str = _SEARCH,
    ) -> _Read:
        """GET root + path, read the answer; both again where they fail for reasons that may pass.

        what: what the server is waited for.

        Raises
        ------
        PacsError
            When it does not succeed: Unreachable, HttpError, BrokenAnswer; or what ``read`` raises.

        """
        # A wildcard as it stands, which a URL may hold: Orthanc 1.10 takes what it is encoded to for itself.
        asked = urlencode(list(query), safe="*,", quote_via=quote)

        def once() -> _Read:
            return self.request("GET", path, read, what=what, params=asked, headers={"Accept": accept})

        return self.patience.again(once, what)

    def get_json(self, path: str, query: Iterable[tuple[str, str]] = ()) -> Any:
        """GET DICOM JSON; None where the server says that there is nothing."""
        return self.get(path, "application/dicom+json", Answer.json, query)

    def _cause(self, error: Exception) -> str:
        why = cause(error)
        # What wants TLS hangs up on whoever speaks none.
        is_it_tls = why == BROKEN_OFF and self.root.startswith("http:") and not self._has_answered
        return f"{why}; does it want https?" if is_it_tls else why

    def request(
        self,
        method: str,
        path: str,
        read: Callable[[Answer], _Read],
        answers: frozenset[int] = _ANSWERS,
        what: str = _SEARCH,
        **options: Any,
    ) -> _Read:
        """Send one request, once; follow redirects that stay with the server. answers: statuses with a body to read."""
        url = self.root + path
        for _ in range(4):
            with self._waiting.on(what, _TIMEOUTS[1]) as wait:
                found = self._ask(method, url, read, answers, wait, options)
            if not isinstance(found, _Elsewhere):
                return found
            if urlsplit(found.url)[:2] != urlsplit(self.root)[:2]:
                # Credentials, and what is searched for, are this server's business alone.
                raise PacsError("the server redirects to another host or scheme; give that URL if it is the right one")
            url, options = found.url, {key: value for key, value in options.items() if key != "params"}
        raise PacsError("the server redirects in a circle")

    def _ask(
        self,
        method: str,
        url: str,
        read: Callable[[Answer], _Read],
        answers: frozenset[int],
        wait: Wait,
        options: dict[str, Any],
    ) -> "_Read | _Elsewhere":
        # Where there is something to send, the first of these holds for that, too.
        timeouts, silent = _TIMEOUTS, "says nothing"
        if "data" in options:
            timeouts, silent = (_TIMEOUTS[1], _TIMEOUTS[1]), "takes no more of what it is sent,"
            options = options | {"data": _Watched(options["data"], wait.heard)}
        try:
            with self._session.request(
                method,
                url,
                stream=True,
                allow_redirects=False,
                timeout=timeouts,
                # Given for each request: a CA of the environment's would take the place of the session's.
                verify=self._verify,
                **options,
            ) as response:
                self._has_answered = True
                wait.heard()
                silent = "stops in the middle of its answer, and says nothing"
                if response.status_code in _REDIRECTS:
                    return _Elsewhere(urljoin(url, response.headers.get("Location", "")))
                if response.status_code not in answers:
                    raise refusal(response)
                return read(Answer(response, wait.heard))
        except requests.exceptions.SSLError as error:
            advice = "give its CA's certificate with --ca FILE" if "certificate" in cause(error) else "is it http?"
            raise PacsError(f"no TLS connection to the server: {cause(error)}; {advice}") from None
        except requests.exceptions.ChunkedEncodingError:
            raise BrokenAnswer("the server's answer broke off") from None
        except requests.ConnectTimeout:
            raise Unreachable(f"no connection to the server within {timeouts[0]:.0f} s") from None
        except requests.ReadTimeout:
            raise Silent("says nothing", wait.silence) from None
        except requests.ConnectionError as error:
            if is_silence(error):
                raise Silent(silent, wait.silence) from None
            raise Unreachable(f"no connection to the server: {self._cause(error)}") from None
        except requests.RequestException as error:
            raise PacsError(f"the server cannot be asked ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Where a server redirects to."""

    url: str


class _Watched:
    """A body to send, which its reader is heard to take."""

    def __init__(self, body: Any, heard: Callable[[], None]) -> None:
        self._body, self._heard = body, heard

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            self._heard()
            yield piece
        self._heard()


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
