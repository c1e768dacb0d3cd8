"""Storage SCU (PS3.4 B): files sent by C-STORE, byte for byte; what cannot be sent as it is fails, with its reason."""

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from pydicom import Dataset
from pynetdicom import AE, Association, _config, evt
from pynetdicom.presentation import build_context

from mammofast.errors import PacsError
from mammofast.pacs.causes import cause
from mammofast.pacs.dimse.entity import Credentials, Peer, close_surely
from mammofast.pacs.dimse.silence import bound_silence
from mammofast.pacs.sending import Outgoing, SendReport, in_words
from mammofast.pacs.waiting import Tell, Waiting

_VERIFICATION = "1.2.840.10008.1.1"
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve - FIND
_UNCOMPRESSED = "1.2.840.10008.1.2"
# An association has at most 128 presentation contexts (PS3.8 9.3.2.2); two are not for storage.
_MOST_CONTEXTS = 126
_TIMEOUT = 60.0
_CONNECT_TIMEOUT = 10.0
# Who is done need not wait long to be told good-bye.
_RELEASE_TIMEOUT = 5.0
# So many objects in a row that are not confirmed, each sent twice: it is enough.
_SILENT_AT_MOST = 3
_LOOK = "look at the PACS, and run again"
# UIDs in one query; each has up to 64 characters.
_ASKED_AT_ONCE = 100
_PENDING = (0xFF00, 0xFF01)


def send(
    peer: Peer,
    objects: Iterable[Outgoing],
    report: SendReport,
    *,
    calling: str = "MAMMOFAST",
    tls: Credentials | None = None,
    progress: Callable[[int], None] = lambda n: None,
    tell: Tell | None = None,
) -> None:
    """Send what the peer does not have; report what became of each.

    The peer is asked first whether it is there (C-ECHO), and what it has (C-FIND, where it answers that). tell: is
    called with a line where something is waited for.

    Raises
    ------
    PacsError
        When there is no association, or it falls silent: what was stored before is, and running again goes on.

    """
    with Waiting(tell) as waiting:
        sender = _Sender(peer, calling, tls, report, progress, waiting)
        for group in _groups(objects):
            sender.send(group)


def _groups(objects: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """Yield objects in groups that one association has presentation contexts for."""
    group: list[Outgoing] = []
    contexts: set[tuple[str, str]] = set()
    for each in objects:
        context = (each.sop_class_uid, each.transfer_syntax_uid)
        if context not in contexts and len(contexts) == _MOST_CONTEXTS:
            yield group
            group, contexts = [], set()
        group.append(each)
        contexts.add(context)
    if group:
        yield group


class _Sender:
    """One call of :func:`send`, on one association after another."""

    def __init__(
        self,
        peer: Peer,
        calling: str,
        tls: Credentials | None,
        report: SendReport,
        progress: Callable[[int], None],
        waiting: Waiting,
    ) -> None:
        self._peer, self._calling, self._tls = peer, calling, tls
        self._report, self._progress, self._waiting = report, progress, waiting
        self._asks = True  # what the peer has, before it is sent anything
        self._held: set[str] = set()  # what it has said that it has
        self._lost: str | None = None  # the object with which an association was lost
        self._silent_in_a_row = 0

    def send(self, objects: list[Outgoing]) -> None:
        """Send objects that one association has contexts for."""
        left = list(objects)
        while left:
            with self._associated(left) as association:
                if not self._is_asked(association, left):
                    continue
                while left and self._is_answered(association, left[0]):
                    left.pop(0)
                    self._progress(1)
                if left and self._is_lost(left[0], association.dimse.was_silent):
                    left.pop(0)
                    self._progress(1)

    @contextlib.contextmanager
    def _associated(self, objects: Iterable[Outgoing]) -> Iterator[Association]:
        entity = AE(self._calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _TIMEOUT
        # One context for each syntax: of several in one, the peer would choose, and the others could not be sent.
        pairs = {(each.sop_class_uid, each.transfer_syntax_uid) for each in objects}
        contexts = [build_context(_VERIFICATION, _UNCOMPRESSED), build_context(_FIND, _UNCOMPRESSED)]
        contexts += [build_context(sop_class, syntax) for sop_class, syntax in sorted(pairs)]
        peer, tls = self._peer, self._tls
        secured = None if tls is None else (tls.context(server=False), peer.host)
        _try_connection(peer, tls)
        opened = [(evt.EVT_CONN_OPEN, close_surely), (evt.EVT_CONN_OPEN, bound_silence)]
        with self._waiting.on("to accept an association", _TIMEOUT) as wait:
            association = entity.associate(
                peer.host, peer.port, contexts, peer.aet, tls_args=secured, evt_handlers=opened
            )
            silence = wait.silence
        try:
            if not association.is_established:
                raise PacsError(_why_not(association, silence))
            with self._wait_on(association, "to answer a C-ECHO"):
                _echo(association)
            yield association
        finally:
            if association.is_established:
                association.acse_timeout = min(_TIMEOUT, _RELEASE_TIMEOUT)
                association.release()

    @contextlib.contextmanager
    def _wait_on(self, association: Association, what: str) -> Iterator[None]:
        with self._waiting.on(what, _TIMEOUT) as association.dimse.wait:
            yield

    def _is_asked(self, association: Association, objects: Iterable[Outgoing]) -> bool:
        """Ask which of some objects the peer has; False where the association is lost with that, once."""
        if self._asks:
            with self._wait_on(association, "to say what it has"):
                self._held |= _held(association, objects)
            self._asks = association.is_established
            return self._asks
        return True

    def _is_answered(self, association: Association, each: Outgoing) -> bool:
        """Send an object that is not held; False where the association is lost, or of no use any more."""
        if each.sop_uid in self._held:
            self._report.present += 1
            return True
        with self._wait_on(association, "to confirm an object"):
            is_answered = _store(association, each, self._report)
        if is_answered:
            self._silent_in_a_row = 0
        return is_answered

    def _is_lost(self, each: Outgoing, was_silent: bool) -> bool:
        """Say whether an object that was not answered for has had its second try.

        Raises
        ------
        PacsError
            When it is one of too many that are not answered for.

        """
        if self._lost != each.sop_uid:
            self._lost = each.sop_uid
            return False
        if not was_silent:
            self._report.failures[each.sop_uid] = "not stored: twice the connection broke off meanwhile"
            return True
        self._report.failures[each.sop_uid] = f"not stored: twice the PACS said nothing for {_TIMEOUT:.0f} s"
        self._silent_in_a_row += 1
        if self._silent_in_a_row >= _SILENT_AT_MOST:
            raise PacsError(
                f"the PACS has confirmed none of {self._silent_in_a_row} objects in a row; {_LOOK}: "
                "what it has is not sent again"
            )
        return True


def _try_connection(peer: Peer, tls: Credentials | None) -> None:
    """Raise PacsError where there is none, and say why: pynetdicom does not, and leaves open what it cannot connect."""
    try:
        with socket.create_connection((peer.host, peer.port), _CONNECT_TIMEOUT) as raw:
            if tls is not None:
                tls.context(server=False).wrap_socket(raw, server_hostname=peer.host).close()
    except OSError as error:
        raise PacsError(f"{peer.host}, port {peer.port}, cannot be reached: {cause(error)}") from None


def _why_not(association: Association, silence: float) -> str:
    if association.is_rejected:
        answer = association.acceptor.primitive
        return f"the PACS rejects the association: {answer.reason_str.lower()}"
    if silence >= _TIMEOUT:
        return (
            f"the PACS takes the connection, and says nothing for {_TIMEOUT:.0f} s; is it its port for DICOM? "
            f"Look at the PACS, and run again"
        )
    if association.is_aborted:
        return "the PACS breaks off the association; is TLS wanted, or not wanted, or our certificate not trusted?"
    return "the PACS accepts none of the objects' SOP classes"


def _echo(association: Association) -> None:
    if any(context.abstract_syntax == _VERIFICATION for context in association.accepted_contexts):
        status = association.send_c_echo().get("Status")
        if status != 0:
            raise PacsError(
                f"the PACS does not answer a C-ECHO{f'; {_LOOK}' if status is None else ': ' + in_words(status)}"
            )


def _held(association: Association, objects: Iterable[Outgoing]) -> set[str]:
    """Return which of some objects the peer has, as far as it says."""
    held: set[str] = set()
    if not any(context.abstract_syntax == _FIND for context in association.accepted_contexts):
        return held
    by_series = sorted(objects, key=lambda each: (each.study_uid, each.series_uid))
    for (study_uid, series_uid), group in groupby(by_series, key=lambda each: (each.study_uid, each.series_uid)):
        wanted = [each.sop_uid for each in group]
        for start in range(0, len(wanted), _ASKED_AT_ONCE):
            query = Dataset()
            query.QueryRetrieveLevel = "IMAGE"
            query.StudyInstanceUID, query.SeriesInstanceUID = study_uid, series_uid
            query.SOPInstanceUID = wanted[start : start + _ASKED_AT_ONCE]
            if not association.is_established:  # a peer that hangs up on a query may take objects all the same
                return held
            for status, match in association.send_c_find(query, _FIND):
                if status.get("Status") in _PENDING and match is not None:
                    held.add(str(match.get("SOPInstanceUID", "")))
    return held


def _store(association: Association, each: Outgoing, report: SendReport) -> bool:
    """Send one object; False when the connection broke off."""
    context = (each.sop_class_uid, each.transfer_syntax_uid)
    if context not in {(found.abstract_syntax, found.transfer_syntax[0]) for found in association.accepted_contexts}:
        report.failures[each.sop_uid] = f"not sent: the PACS accepts no SOP class {context[0]} in syntax {context[1]}"
        return True
    if not association.is_established:
        return False
    chunked, _config.STORE_SEND_CHUNKED_DATASET = _config.STORE_SEND_CHUNKED_DATASET, True  # from the file as it is
    try:
        status = association.send_c_store(each.path).get("Status")
    except RuntimeError:  # the association has just ended
        status = None
    except Exception as error:
        report.failures[each.sop_uid] = f"not sent: the file cannot be read ({type(error).__name__})"
        return True
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = chunked
    if status is None:
        return False
    # Error Comment may quote the object: only the number is told.
    if status == 0 or status >> 12 == 0xB:
        report.sent += 1
        if status:
            report.warnings[each.sop_uid] = in_words(status)
    else:
        report.failures[each.sop_uid] = f"not stored: {in_words(status)}"
    return True
