"""An answer of a DICOMweb server, its body read as it arrives."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests

from mammofast.errors import PacsError
from mammofast.pacs.dicomweb.failures import BrokenAnswer

_PIECE = 1 << 14
# A transfer may take as long as it takes, where it goes on; what trickles is given so long, and this pace.
_GRACE_SECONDS = 900.0
_SLOWEST_BYTES_PER_SECOND = 4096
_MAX_JSON_BYTES = 1 << 26
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,60}")


class Answer:
    """An HTTP answer that is no refusal. heard: is called with each piece that comes."""

    def __init__(self, response: requests.Response, heard: Callable[[], None]) -> None:
        self._response, self._heard = response, heard

    @property
    def content_type(self) -> str:
        """The Content-Type header, with its parameters."""
        said: str = self._response.headers.get("Content-Type", "")
        return said

    @property
    def media_type(self) -> str:
        """The media type without parameters, if it is one: a server may say anything."""
        said = self.content_type.partition(";")[0].strip().lower()
        return said if _MEDIA_TYPE.fullmatch(said) else "no media type"

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        begun, received = time.monotonic(), 0
        for piece in self._response.iter_content(_PIECE):
            self._heard()
            yield piece
            received += len(piece)
            seconds = time.monotonic() - begun
            if seconds > _GRACE_SECONDS + received / _SLOWEST_BYTES_PER_SECOND:
                raise BrokenAnswer(f"the server has sent {received} bytes in {seconds:.0f} s: it is too slow")

    def json(self) -> Any:
        """Read a body of JSON; None where there is none."""
        if self._response.status_code == 204:
            return None
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > _MAX_JSON_BYTES:
                raise PacsError(f"the server's answer to a search has more than {_MAX_JSON_BYTES} bytes")
        if not body.strip():
            return None
        try:
            return json.loads(body)
        except ValueError:
            raise PacsError(
                f"the server sent {self.media_type} instead of DICOM JSON; is the URL its DICOMweb root, "
                "say https://pacs/dicom-web?"
            ) from None
