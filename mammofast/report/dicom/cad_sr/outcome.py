"""What came of a study as a whole: where the search for masses gave a result, where it did not, and why.

"No findings" must never stand for "was not looked at" (PS3.17 E.1). An image counts as failed where it has no result,
unless it was not to be read and another image of the same breast and view was: the For Processing copy of a For
Presentation image, or the tomosynthesis beside it, is no gap.
"""

import re
from collections import Counter
from dataclasses import dataclass

from mammofast.report.dicom.study import PENDING, StudyImage, StudyResults
from mammofast.screening.entry import DONE, FAILED, Entry, ImageInfo

# A UID that DICOM itself does not register: de-identified objects keep their texts, but no UID.
_UID = re.compile(r"(?<![\d.])(?!1\.2\.840\.10008\.)\d+(\.\d+){5,}")


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """Numbers are positions in the study's images, from 1.

    searched, missing: images with a result, and images that count as failed.
    missing_files: files that the archive does not keep, or no longer, and that count as failed.
    attempted: whether the method was run, or should have been, on anything. complete: whether nothing is pending.
    description: all of it in words, the bundle's notice last.
    """

    searched: tuple[int, ...]
    missing: tuple[int, ...]
    missing_files: tuple[Entry, ...]
    attempted: bool
    complete: bool
    n_findings: int
    description: str

    @property
    def missing_series(self) -> list[str]:
        """Series Instance UIDs of the missing files, where known, sorted."""
        return sorted({entry.image.series_uid for entry in self.missing_files if entry.image.series_uid})

    @property
    def succeeded(self) -> bool:
        """Whether nothing is missing."""
        return not (self.missing or self.missing_files)


def outcome_of(study: StudyResults) -> StudyOutcome:
    """Return what came of a study."""
    images, files = study.images, study.left_out
    seen = {_view(image.info) for image in images if image.status == DONE}
    statuses = [*(image.status for image in images), *(entry.status for entry in files)]
    return StudyOutcome(
        searched=tuple(number for number, image in enumerate(images, 1) if image.status == DONE),
        missing=tuple(n for n, image in enumerate(images, 1) if _is_missing(image, image.info, seen)),
        missing_files=tuple(entry for entry in files if _is_missing(entry, entry.image, seen)),
        attempted=DONE in statuses or FAILED in statuses,
        complete=PENDING not in statuses,
        n_findings=sum(len(image.findings) for image in images),
        description="\r\n".join(_lines(study)),
    )


def _is_missing(outcome: StudyImage | Entry, info: ImageInfo, seen: set[tuple[str | None, str | None]]) -> bool:
    if outcome.status in (DONE, FAILED):
        return outcome.status == FAILED
    view = _view(info)
    return None in view or view not in seen


def _view(info: ImageInfo) -> tuple[str | None, str | None]:
    return info.laterality, info.view


def _lines(study: StudyResults) -> list[str]:
    done = sum(image.status == DONE for image in study.images)
    found = sum(len(image.findings) for image in study.images)
    total = _count(len(study.images) + len(study.left_out), "image")
    lines = [f"{done} of {total} searched for masses, {_count(found, 'mark')}."]
    for number, image in enumerate(study.images, 1):
        if image.status != DONE:
            lines.append(f"No result for image {number}{_place(image.info)}: {_why(image)}")
    kinds = Counter(f"{_place(entry.image)}: {_why(entry)}" for entry in study.left_out)
    lines += [f"No result for {_count(number, 'file')}{kind}" for kind, number in sorted(kinds.items())]
    return lines + ([study.algorithm.notice] if study.algorithm.notice else [])


def _why(outcome: StudyImage | Entry) -> str:
    if outcome.status == PENDING:
        return "not screened yet."
    return f"{outcome.status}, {_UID.sub('(a UID)', outcome.reason or '')}."


def _place(info: ImageInfo) -> str:
    words = " ".join(filter(None, _view(info)))
    return f" ({words})" if words else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
