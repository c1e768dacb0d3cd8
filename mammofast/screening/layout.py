"""Where things lie in a results folder, and what their names say.

RESULTS/
  results.json                                     which archive the results are of
  runs/<bundle_id>-<settings_id>.json              what was run: the bundle's name, notice and networks; the settings
  runs/<bundle_id>-<settings_id>/<sha256[:16]>.json
                                                   versions of the software it was run with, a file for each set of them
  runs/<bundle_id>-<settings_id>/timings/<time>-<random>.json
                                                   a call of `screen` for it: when, on what, what came of it
  logs/<time>-<random>.jsonl                       its line for each study, see :mod:`mammofast.screening.study_log`
  images/<bundle_id[:16]>-<settings_id[:16]>/
    <sop_uid>-<content_sha256[:16]>.json           one image's findings and masks, see :mod:`mammofast.screening.entry`
    file-<key>.json                                a file that the archive did not keep, by its key there, and why
"""

import re
from functools import lru_cache
from pathlib import Path

from mammofast.errors import Reason, ResultsError
from mammofast.screening.entry import FAILED, Entry, ImageInfo, Run

_ID = re.compile(r"[0-9a-f]{64}")
# What may stand in a file's name. DICOM allows digits and dots only; whatever else came in is cut off from the disk.
_UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z.]{0,63}")
_SHORT = 16
_IMAGE = re.compile(rf"{_UID.pattern}-{_ID.pattern}")
_CUT = _SHORT - 64  # from the end of what that matches
_ENTRY = re.compile(rf"file-(?P<key>{_ID.pattern})|(?P<uid>{_UID.pattern})-[0-9a-f]{{{_SHORT}}}")
_FILE = re.compile(rf"file-({_ID.pattern})\.json")
_SUMMARY = re.compile(rf"({_ID.pattern})-({_ID.pattern})")


def header_path(results: Path) -> Path:
    """Return where it says which archive the results are of."""
    return results / "results.json"


def summary_path(results: Path, run: Run) -> Path:
    """Return where a run's summary lies."""
    for name, value in (("bundle_id", run.bundle_id), ("settings_id", run.settings_id)):
        if not _ID.fullmatch(value):
            raise ValueError(f"{name}: got {value!r}, expected 64 hex digits")
    return results / "runs" / f"{run.bundle_id}-{run.settings_id}.json"


def versions_folder(results: Path, run: Run) -> Path:
    """Return the folder that says which versions of software a run was made with."""
    return summary_path(results, run).with_suffix("")


def timings_folder(results: Path, run: Run) -> Path:
    """Return the folder that says when a run was worked on."""
    return versions_folder(results, run) / "timings"


def log_path(results: Path, call: str) -> Path:
    """Return where a call of ``screen`` says what became of each study."""
    return results / "logs" / f"{call}.jsonl"


def runs(results: Path) -> list[Run]:
    """Return all runs that have a summary, sorted."""
    names = (_SUMMARY.fullmatch(path.stem) for path in sorted((results / "runs").glob("*.json")))
    return [Run(*name.groups()) for name in names if name is not None]


@lru_cache(maxsize=16)  # asked for with every image
def entries_folder(results: Path, run: Run) -> Path:
    """Return the folder of a run's outcomes."""
    summary_path(results, run)  # are these ids?
    return results / "images" / f"{run.bundle_id[:_SHORT]}-{run.settings_id[:_SHORT]}"


def entry_path(results: Path, image: ImageInfo, run: Run) -> Path:
    """Return where an image's, or a file's, outcome lies; raises as ``entry_name``."""
    return entries_folder(results, run) / entry_name(image)


def entry_name(image: ImageInfo) -> str:
    """Return the file name of an image's, or a file's, outcome.

    Raises
    ------
    ResultsError
        When its identity is not one that may name a file.

    """
    if image.file_key is not None:
        return f"file-{_checked('file_key', image.file_key)}.json"
    return image_name(image.sop_uid or "", image.content_sha256 or "")


def image_name(sop_uid: str, content_sha256: str) -> str:
    """Return the file name of an image's outcome; raises as ``entry_name``."""
    if not _IMAGE.fullmatch(name := f"{sop_uid}-{content_sha256}"):  # both at once: for each image this is asked
        _checked("content_sha256", content_sha256)
        raise ResultsError("sop_uid: expected a DICOM UID; the archive's record is damaged")
    return f"{name[:_CUT]}.json"


def entry_paths(results: Path) -> list[Path]:
    """Return where all outcomes lie, of all runs, sorted."""
    return [path for path in sorted(results.glob("images/*/*.json")) if _ENTRY.fullmatch(path.stem)]


def sop_uid_of(path: Path) -> str | None:
    """Return which image's outcome lies there; None for a file's."""
    name = _ENTRY.fullmatch(path.stem)
    return None if name is None else name["uid"]


def file_key_of(name: str) -> str | None:
    """Return which file that never became an image an outcome's file name means; None for an image's."""
    found = _FILE.fullmatch(name)
    return None if found is None else found[1]


def damaged_entry(results: Path, path: Path) -> Entry:
    """Return what the name of a damaged outcome still tells, so that no image is gone from the tables unsaid."""
    name = _ENTRY.fullmatch(path.stem)
    if name is None:
        raise ValueError(f"path: got {path.name}, expected the name of an outcome")
    known = [run for run in runs(results) if entries_folder(results, run).name == path.parent.name]
    run = known[0] if known else Run(*path.parent.name.split("-", 1))
    image = ImageInfo(None, None, name["uid"], None, None, None, None, None, None, file_key=name["key"])
    return Entry(image, run, FAILED, f"{Reason.READ}: the result is damaged; screen again")


def _checked(name: str, value: str) -> str:
    if not _ID.fullmatch(value):
        raise ResultsError(f"{name}: expected 64 hex digits; the archive's record is damaged")
    return value
