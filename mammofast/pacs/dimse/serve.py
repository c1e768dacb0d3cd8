"""Receive into an archive until told to stop."""

import time
from collections.abc import Callable
from pathlib import Path

from mammofast.archive import IngestReport
from mammofast.archive.ingest import Ingest
from mammofast.pacs.dimse.receive import Receiver
from mammofast.pacs.dimse.spool import FOLDER, Spool

# An association that sends nothing for so long, or has ended: what came in is ingested.
_QUIET_SECONDS = 2.0
# A sender that never pauses does not hold up the archive for ever.
_LONGEST_SECONDS = 60.0
_LOOK_SECONDS = 0.05


def serve(
    archive: Path,
    receiver_of: Callable[[Spool], Receiver],
    *,
    stop: Callable[[], bool],
    listening: Callable[[Receiver], None] = lambda receiver: None,
    ingested: Callable[[IngestReport], None] = lambda report: None,
    workers: int | None = None,
) -> None:
    """Receive objects, and ingest them whenever their senders pause; return when ``stop`` says so.

    What was acknowledged is in the archive or in its spool, whatever is killed when; a new start goes on with it.

    Raises
    ------
    PacsError
        When the port cannot be listened on, or another process receives for this archive.
    ArchiveError
        When the archive cannot be opened, made or written.

    """
    with (
        Ingest(archive, workers=workers) as ingest,
        Spool(archive / FOLDER, stop) as spool,
        receiver_of(spool) as receiver,
    ):
        listening(receiver)
        waiting_since: float | None = None
        retried = 0
        while not stop():
            time.sleep(_LOOK_SECONDS)
            if len(spool) <= retried:  # which a new try would not make better just now
                waiting_since = None
                continue
            now = time.monotonic()
            waiting_since = waiting_since or now
            if receiver.is_quiet(_QUIET_SECONDS) or now - waiting_since > _LONGEST_SECONDS:
                ingested(ingest.add(spool))
                waiting_since, retried = None, len(spool)
