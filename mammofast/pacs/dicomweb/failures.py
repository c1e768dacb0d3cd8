"""What goes wrong with a request, in plain words; and which of it may pass.

No error holds a URL below the server's root: what is searched for may be a patient.
"""

import requests

from mammofast.errors import PacsError

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 60.0


class ServerError(PacsError):
    """A request that failed. given_up: what the server was waited for, once all tries are used up."""

    given_up: str | None = None


class Unreachable(ServerError):
    """The server does not answer at all."""


class Silent(Unreachable):
    """The server takes the connection, and says nothing, or nothing any more: a try costs a long time."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"the server {what} for {seconds:.0f} s")

    def __str__(self) -> str:
        return f"{self.args[0]}{'; look at the PACS, and run again' if self.given_up else ''}"


class HttpError(ServerError):
    """The server answers with an HTTP status that says no."""

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class BrokenAnswer(ServerError):
    """The answer is cut off; another try may get all of it."""


def may_pass(error: PacsError) -> bool:
    """Say whether another try may get past an error."""
    if not isinstance(error, ServerError) or error.given_up is not None:
        return False
    return error.status in _TRANSIENT if isinstance(error, HttpError) else True


def refusal(response: requests.Response) -> HttpError:
    """Return what an HTTP status says, and what to do about it."""
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
