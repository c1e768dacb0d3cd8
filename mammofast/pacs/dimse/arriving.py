"""Objects as they arrive by C-STORE: each piece goes to the spool at once, none is in memory as a whole.

pynetdicom would hold an object in memory, or write it to the system's folder for temporary files, for all associations
of the process alike, and leave it there where an association breaks off (its ``STORE_RECV_CHUNKED_DATASET``).
"""

import errno
import threading
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.filewriter import write_file_meta_info
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dsutils import create_file_meta

from mammofast.pacs.dimse.spool import Part, Spool

# A sender that waits for its answers, as it must, has one.
_MOST_UNANSWERED = 4
# A command has some hundred bytes.
_MAX_COMMAND_BYTES = 1 << 16


class SpoolingProvider(DIMSEServiceProvider):  # type: ignore[misc]
    """Takes the place of an association's DIMSE provider: data sets go to a spool."""

    message: Any

    def __init__(self, association: Any, spool: Spool) -> None:
        super().__init__(association)
        self._spool = spool
        self._unanswered: set[Arriving] = set()

    def receive_primitive(self, primitive: Any) -> None:
        """Take a piece of a message (P-DATA)."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = Arriving(self, self.message)
        super().receive_primitive(primitive)
        if self.message is not None and self.message.encoded_command_set.tell() > _MAX_COMMAND_BYTES:
            self.dul.event_queue.put("Evt19")  # as of a PDU that is none

    def begin(self, arriving: "Arriving") -> Part:
        """Return where an object goes."""
        if len(self._unanswered) >= _MOST_UNANSWERED:
            raise OSError(errno.ENOBUFS, "more objects than answers")
        part = self._spool.part()
        self._unanswered.add(arriving)
        return part

    def meta(self, message: Any) -> Dataset:
        """Return the file meta information of the object that a message brings."""
        return create_file_meta(
            sop_class_uid=message.command_set.AffectedSOPClassUID,
            sop_instance_uid=message.command_set.AffectedSOPInstanceUID,
            transfer_syntax=self.assoc._accepted_cx[message.context_id].transfer_syntax[0],
        )

    def settled(self, arriving: "Arriving") -> None:
        """Forget an object that is kept or not."""
        self._unanswered.discard(arriving)

    def discard(self) -> None:
        """Leave nothing of what is not kept yet: its sender is gone, and will hear of no success."""
        for arriving in list(self._unanswered):
            arriving.discard()


class Arriving(BytesIO):
    """One data set, in the place of the BytesIO that pynetdicom insists on."""

    def __init__(self, provider: SpoolingProvider, message: Any) -> None:
        super().__init__()
        self._provider, self._message = provider, message
        self._part: Part | None = None
        self._failure: Exception | None = None
        # The connection may end, on one thread, while the object is kept on another: one of the two happens.
        self._is_settled = False
        self._lock = threading.Lock()

    def write(self, data: Any) -> int:
        """Add a piece; what goes wrong is told when the object is to be kept, as only then is there an answer."""
        if self._failure is None:
            try:
                if self._part is None:
                    self._part = self._provider.begin(self)
                    self._part.file.write(bytes(128) + b"DICM")
                    write_file_meta_info(self._part.file, self._provider.meta(self._message))
                self._part.file.write(data)
            except Exception as error:
                self._failure = error
                self.discard()
        return len(data)

    def keep(self) -> None:
        """Make it one of the spool's objects; return when it outlasts a power cut.

        Raises
        ------
        OSError
            When it could not be written, or its sender is gone.
        Exception
            When its command cannot be understood.

        """
        if self._failure is not None or self._part is None:
            self.discard()
            raise self._failure or ValueError("a command without a data set")
        if not self._settle():
            raise ConnectionError
        self._part.keep()

    def discard(self) -> None:
        """Leave nothing of it, unless it is kept already."""
        if self._settle() and self._part is not None:
            self._part.discard()

    def _settle(self) -> bool:
        with self._lock:
            is_first, self._is_settled = not self._is_settled, True
        self._provider.settled(self)
        return is_first
