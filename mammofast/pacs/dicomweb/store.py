"""STOW-RS (PS3.18 10.5): objects stored, in messages of a bounded size; none that the server has already."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from mammofast.errors import PacsError
from mammofast.pacs.dicomweb.answer import Answer
from mammofast.pacs.dicomweb.failures import HttpError, Silent, Unreachable
from mammofast.pacs.dicomweb.multipart import Files
from mammofast.pacs.dicomweb.search import held_instances
from mammofast.pacs.dicomweb.server import Server
from mammofast.pacs.sending import Outgoing, SendReport, in_words

# Of one message; proxies in front of a PACS often end at some 100 MB.
BATCH_BYTES = 1 << 26
_FAILED, _STORED = "00081198", "00081199"
_SOP_UID, _FAILURE, _WARNING = "00081155", "00081197", "00081196"
_TOO_LARGE = 413
_WHAT = "to take objects"
# All, some or none were stored; the body says which.
_ANSWERS = frozenset({200, 202, 204, 409})


def store(
    server: Server,
    objects: Iterable[Outgoing],
    report: SendReport,
    *,
    batch_bytes: int = BATCH_BYTES,
    progress: Callable[[int], None] = lambda n: None,
) -> None:
    """Store what the server does not have, study by study; report what became of each.

    Raises
    ------
    PacsError
        When the server cannot be asked at all: what was stored before is, and running again goes on.

    """
    for study_uid, group in groupby(objects, key=lambda each: each.study_uid):
        wanted = list(group)
        held = held_instances(server, study_uid)
        missing = [each for each in wanted if each.sop_uid not in held]
        report.present += len(wanted) - len(missing)
        progress(len(wanted) - len(missing))
        for batch in batches(missing, batch_bytes):
            _store(server, study_uid, batch, report)
            progress(len(batch))


def batches(objects: Iterable[Outgoing], most: int) -> Iterator[list[Outgoing]]:
    """Yield objects in groups of at most so many bytes; what is larger alone."""
    batch: list[Outgoing] = []
    size = 0
    for each in objects:
        if batch and size + each.size > most:
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += each.size
    if batch:
        yield batch


def _store(server: Server, study_uid: str, batch: list[Outgoing], report: SendReport) -> None:
    left = {each.sop_uid: each for each in batch}

    def attempt() -> Any:
        message = Files(each.path for each in left.values())
        headers = {"Content-Type": message.content_type, "Accept": "application/dicom+json"}
        try:
            return server.request("POST", "/studies", Answer.json, _ANSWERS, _WHAT, data=message, headers=headers)
        except PacsError:
            # The answer may be lost, and the objects stored: nothing is sent twice.
            for sop_uid in held_instances(server, study_uid) & left.keys():
                del left[sop_uid]
                report.sent += 1
            if not left:
                return None
            raise

    try:
        answer = server.patience.again(attempt, _WHAT)
    except Unreachable as error:
        if not isinstance(error, Silent) or error.given_up != _WHAT:
            raise
        report.failures.update(dict.fromkeys(left, f"not stored: {error}"))
        return
    except HttpError as error:
        if error.status == _TOO_LARGE and len(left) > 1:
            waiting = list(left.values())
            for half in (waiting[: len(waiting) // 2], waiting[len(waiting) // 2 :]):
                _store(server, study_uid, half, report)
            return
        report.failures.update(dict.fromkeys(left, f"not stored: {error}"))
        return
    except PacsError as error:
        report.failures.update(dict.fromkeys(left, f"not stored: {error}"))
        return
    if left:
        _settle(server, study_uid, left, answer, report)


def _settle(server: Server, study_uid: str, left: dict[str, Outgoing], answer: Any, report: SendReport) -> None:
    """Read what became of each object; what the answer does not name, the server is asked for."""
    failed, stored = _by_uid(answer, _FAILED, _FAILURE), _by_uid(answer, _STORED, _WARNING)
    unnamed = left.keys() - failed.keys() - stored.keys()
    held = held_instances(server, study_uid) if unnamed else set()
    for sop_uid in left:
        if sop_uid in failed:
            report.failures[sop_uid] = f"not stored: {in_words(failed[sop_uid])}"
        elif sop_uid in stored or sop_uid in held:
            report.sent += 1
            if stored.get(sop_uid):
                report.warnings[sop_uid] = in_words(stored[sop_uid])
        else:
            report.failures[sop_uid] = "not stored: the server does not say why"


def _by_uid(answer: Any, sequence: str, reason: str) -> dict[str, int]:
    found = {}
    try:
        for item in answer[sequence]["Value"]:
            code = item.get(reason, {}).get("Value", [0])[0]
            found[str(item[_SOP_UID]["Value"][0])] = int(code)
    except (LookupError, TypeError, ValueError, AttributeError):
        pass
    return found
