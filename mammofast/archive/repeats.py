"""Which images of a study show the same view: a retake, the parts of a mosaic, or a copy that a reader made.

Nothing says for sure which of them counts (a rejected image is not marked in itself), so all are kept and screened, and
whoever reads the results is told their order.
"""

from collections import defaultdict
from collections.abc import Iterable

from pydicom import Dataset

from mammofast.archive.quiet import quiet
from mammofast.archive.store import ArchiveImage
from mammofast.errors import ImageError


def repeats(images: Iterable[ArchiveImage]) -> dict[str, tuple[int, int]]:
    """Return of each image that is not alone in its view which one it is, from 1, of how many; by SOP Instance UID.

    images: of one study. The same view is the same side, view, modifiers and presentation intent, all known. The order
    is that of acquisition, or of content where no acquisition is dated, then Instance Number, then SOP Instance UID.
    """
    views: dict[object, list[ArchiveImage]] = defaultdict(list)
    for image in images:
        record = image.record
        if record.laterality and record.view:
            views[record.laterality, record.view, record.modifiers, record.presentation_intent].append(image)
    found = {}
    for same in views.values():
        if len(same) > 1:
            for number, image in enumerate(sorted(same, key=_order), start=1):
                found[image.record.sop_uid] = (number, len(same))
    return found


def _order(image: ArchiveImage) -> tuple[str, int, str]:
    try:
        with quiet():
            header = image.header
            return _moment(header), _number(header), image.record.sop_uid
    except (ImageError, ValueError, TypeError):  # a damaged header: told elsewhere
        return "", 0, image.record.sop_uid


def _moment(header: Dataset) -> str:
    for what in ("Acquisition", "Content"):
        date, time = (str(header.get(f"{what}{part}") or "").strip() for part in ("Date", "Time"))
        if date:
            return f"{date} {time}"
    return ""


def _number(header: Dataset) -> int:
    text = str(header.get("InstanceNumber") or "").strip()
    return int(text) if text.isdecimal() else 0
