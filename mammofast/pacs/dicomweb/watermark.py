"""How far a server has been read: which of its studies are in the archive, each with how many instances it had.

Dates cannot say it: priors arrive late with old dates, and images are added to studies of last week. So a study is
looked into again when its number of instances is another one than before; and, as an image may also be rejected and
taken again, for some days in any case.

Kept in the archive as lines of JSON, each durable before the next is begun; a study's last line counts. A line that a
power cut left unfinished is passed over: its study is then looked into once more.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mammofast.durable import make_folder, sync
from mammofast.errors import ArchiveError
from mammofast.pacs.dicomweb.search import Study

FOLDER = ".dicomweb"
# For so long after a study has changed, its instances are compared one by one.
_UNSETTLED = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class _Seen:
    instances: int | None
    at: datetime
    not_kept: frozenset[str]


class Watermark:
    """What is known of one server's studies, as far as series of a modality go; of an archive."""

    def __init__(self, archive: Path, root: str, modality: str) -> None:
        name = root if modality == "MG" else f"{root} {modality}"
        self._path = archive / FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.jsonl"
        self._seen: dict[str, _Seen] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ArchiveError(f"what the archive knows of the PACS cannot be read ({error.strerror})") from None
        for line in lines:
            try:
                said = json.loads(line)
                at = datetime.fromisoformat(said["at"])
                self._seen[said["study"]] = _Seen(said["instances"], at, frozenset(said["not_kept"]))
            except (ValueError, LookupError, TypeError):
                continue

    def is_done(self, study: Study, now: datetime | None = None) -> bool:
        """Say whether there is nothing new in a study, as far as one can know without looking."""
        seen = self._seen.get(study.uid)
        if seen is None or study.instances is None or seen.instances != study.instances:
            return False
        return (now or datetime.now(UTC)) - seen.at > _UNSETTLED

    def not_kept(self, study_uid: str) -> frozenset[str]:
        """Return the instances of a study that were looked at, and are not images of the archive."""
        seen = self._seen.get(study_uid)
        return frozenset() if seen is None else seen.not_kept

    def done(self, study: Study, not_kept: Iterable[str]) -> None:
        """Put on record that all of a study has been looked at; return when that is on the disk.

        Raises
        ------
        ArchiveError
            When it cannot be put there.

        """
        new = _Seen(study.instances, datetime.now(UTC), frozenset(not_kept))
        before = self._seen.get(study.uid)
        if before is not None and (before.instances, before.not_kept) == (new.instances, new.not_kept):
            return
        self._seen[study.uid] = new
        line = {
            "study": study.uid,
            "instances": new.instances,
            "at": new.at.isoformat(timespec="seconds"),
            "not_kept": sorted(new.not_kept),
        }
        try:
            make_folder(self._path.parent)
            is_new = not self._path.exists()
            with self._path.open("ab") as file:
                # First the end of a line that may be unfinished.
                file.write(b"\n" + json.dumps(line).encode())
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync(self._path.parent)
        except OSError as error:
            raise ArchiveError(f"the archive cannot be written ({error.strerror}); run again to go on") from None
