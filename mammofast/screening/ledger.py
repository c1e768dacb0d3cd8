"""The ledger: what came out of every image, each recorded once, durable before it counts as done.

What identifies a result is the image's content, the bundle and the settings: a changed bundle or a changed image has a
name of its own, beside the old results (:mod:`mammofast.screening.layout`). Files appear whole
(:mod:`mammofast.screening.files`) and carry a checksum; one that is damaged does not count as done and is written anew.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mammofast.errors import ResultsError
from mammofast.objects import ObjectPath, place
from mammofast.records import combine_boxes, combine_masks
from mammofast.screening import layout
from mammofast.screening.entry import DONE, FORMAT, Entry, ImageInfo, Run, is_whole, parse_entry, status_of
from mammofast.screening.files import (
    check_written_once,
    is_empty,
    json_bytes,
    make_folder,
    names_in,
    read_if_there,
    read_json,
    remove_abandoned,
    sync_folder,
    write_all_once,
    write_once,
    write_over,
)
from mammofast.screening.summaries import read_summaries, write_summary, write_timing, write_versions

if TYPE_CHECKING:
    import pyarrow as pa

    from mammofast.archive import Archive


class Results:
    """A results folder. ``open_results`` opens one to read, ``Results.create_or_open`` one to add to."""

    def __init__(self, path: str | Path) -> None:
        self.path = place(path)
        path = layout.header_path(self.path)
        header = read_json(path, "no results folder; `mammofast screen ARCHIVE RESULTS` makes one")
        try:
            if header["format"] != FORMAT:
                raise ResultsError(
                    f"{self.path}: got format {header['format']!r}, expected {FORMAT}; use the mammofast that wrote it"
                )
            self.archive_id = str(header["archive"]["id"])
            self._archive_path = place(header["archive"]["path"])
            self._archive_beside: Path = self.path / header["archive"]["relative"]
        except (KeyError, TypeError) as error:
            raise ResultsError(f"{path}: {error} is missing; the file was changed or damaged") from error
        self._names: dict[str | None, list[Path]] | None = None

    @classmethod
    def create_or_open(cls, path: str | Path, archive: "Archive") -> "Results":
        """Open the results of an archive to add to them; make the folder where there is none.

        Raises
        ------
        ResultsError
            When the folder holds something else, or the results of another archive.

        """
        folder, source = place(path), place(archive.path).resolve()
        if _is_new(folder):
            make_folder(folder)
            # As text: an object store's means nothing to the system, nor here.
            relative = os.path.relpath(str(source), str(folder.resolve()))
            where = {"path": str(source), "relative": relative, "id": archive.archive_id}
            write_once(layout.header_path(folder), json_bytes({"format": FORMAT, "archive": where}))
        results = cls(folder)
        check_written_once(layout.header_path(folder))
        if results.archive_id != archive.archive_id:
            raise ResultsError(
                f"{folder}: holds the results of archive {results.archive_id}, got archive {archive.archive_id}; "
                "give each archive a results folder of its own"
            )
        return results

    @property
    def archive_path(self) -> Path:
        """Where the archive was when it was screened; where it is now, if it moved together with the results."""
        if isinstance(self.path, ObjectPath):  # which nobody moves
            return self._archive_path
        if not self._archive_path.exists() and self._archive_beside.exists():
            return self._archive_beside.resolve()
        return self._archive_path

    def start(self, run: Run, summary: dict[str, Any]) -> bool:
        """Make room for a run; return whether nothing of it is on record yet.

        summary: what a reader may want to know of it, JSON-ready; its "notice" is shown.
        """
        folder = layout.entries_folder(self.path, run)
        make_folder(folder)
        remove_abandoned(folder)
        write_summary(self.path, run, summary)
        return is_empty(folder)

    def settle(self, run: Run) -> None:
        """Make durable what a run has on record, whoever put it there and was killed before it did so itself."""
        sync_folder(layout.entries_folder(self.path, run))

    def add_versions(self, run: Run, versions: Mapping[str, str]) -> None:
        """Say what a run's results are made with from now on, by package; what was said before stays."""
        write_versions(self.path, run, versions)

    def put_timing(self, run: Run, name: str, timing: Mapping[str, Any]) -> None:
        """Say when a run was worked on, over what was said under the same name; ``timing`` is JSON-ready."""
        write_timing(self.path, run, name, timing)

    def has(self, image: ImageInfo, run: Run) -> bool:
        """Say whether an image's outcome is on record, whole."""
        return self.entry_bytes(image, run) is not None

    def statuses(self, names: Iterable[str], run: Run) -> list[str | None]:
        """Return "done", "skipped" or "failed" for each name of an outcome, see :func:`layout.image_name`.

        None where nothing, or nothing whole, is on record.
        """
        return [None if content is None else status_of(content) for content in self.contents(names, run)]

    def contents(self, names: Iterable[str], run: Run) -> list[bytes | None]:
        """Return what is on record under each name of an outcome, None where nothing, or nothing whole, is."""
        folder = layout.entries_folder(self.path, run)
        return [self._whole(folder, name) for name in names]

    def entry_bytes(self, image: ImageInfo, run: Run) -> bytes | None:
        """Return what is on record of an image, None where nothing is or it is damaged."""
        return self._whole(layout.entries_folder(self.path, run), layout.entry_name(image))

    def _whole(self, folder: Path, name: str) -> bytes | None:
        try:
            content = read_if_there(folder, name)
        except OSError as error:
            raise ResultsError(f"{self.path}: a result cannot be read ({error.strerror})") from error
        return content if content is not None and is_whole(content) else None

    def entry(self, image: ImageInfo, run: Run) -> Entry | None:
        """Return what is on record of an image, None where nothing is; what is damaged is "failed", as in ``entries``.

        Raises
        ------
        ResultsError
            When it cannot be read, or another version of mammofast wrote it.

        """
        return self._read(layout.entry_path(self.path, image, run))

    def record(self, entry: Entry) -> bool:
        """Record one image's outcome; see :meth:`put`."""
        return self.put(entry.image, entry.run, entry.to_bytes())

    def put(self, image: ImageInfo, run: Run, content: bytes) -> bool:
        """Record an encoded outcome: durable when this returns, written whole, never over another.

        Returns
        -------
        bool
            False where the outcome was there already: another run on the same ledger was faster.

        """
        return not self.put_all({layout.entry_name(image): content}, run)

    def put_all(self, contents: Mapping[str, bytes], run: Run) -> set[str]:
        """Record encoded outcomes of a run by their names, as ``put``; return the names that were there already."""
        folder = layout.entries_folder(self.path, run)
        self._names = None
        taken = write_all_once(folder, contents)
        for name in list(taken):
            with suppress(FileNotFoundError):  # forgotten meanwhile by a run that screens failed images again
                if is_whole((folder / name).read_bytes()):
                    continue
            write_over(folder / name, contents[name])
            taken.remove(name)
        return taken

    def record_file(self, entry: Entry) -> None:
        """Record what the archive says of a file that never became an image, over what it said before.

        It knows better when a file was read again; a result, in contrast, is for good. What is the same is not touched.
        """
        path, content = layout.entry_path(self.path, entry.image, entry.run), entry.to_bytes()
        if not path.exists() or path.read_bytes() != content:
            write_over(path, content)

    def forget(self, image: ImageInfo, run: Run) -> None:
        """Remove an image's outcome, so that it is screened again."""
        layout.entry_path(self.path, image, run).unlink(missing_ok=True)
        self._names = None

    def forget_other_files(self, keys: Collection[str], run: Run) -> None:
        """Remove what is on record of files that never became images, but of these: others were read since."""
        folder = layout.entries_folder(self.path, run)
        for name in names_in(folder):
            key = layout.file_key_of(name)
            if key is not None and key not in keys:
                (folder / name).unlink(missing_ok=True)

    def entries(self) -> Iterator[Entry]:
        """Read all outcomes on record, of all runs; a damaged one is "failed", though screening does it again."""
        for path in layout.entry_paths(self.path):
            entry = self._read(path)
            if entry is not None:
                yield entry

    def files(self, run: Run) -> Iterator[Entry]:
        """Read what a run has on record of files that never became images."""
        for path in sorted(layout.entries_folder(self.path, run).glob("file-*.json")):
            entry = self._read(path)
            if entry is not None:
                yield entry

    def runs(self) -> list[dict[str, Any]]:
        """Return every run's summary, with bundle_id, settings_id and two lists.

        "versions": of the software it was made with. "timings": one for each call of ``screen``, as
        :meth:`mammofast.screening.timing.Stopwatch.as_dict` gives it.
        """
        return read_summaries(self.path)

    def notices(self) -> list[str]:
        """Return what must be said wherever these results are shown."""
        return sorted({run["notice"] for run in self.runs() if run.get("notice")})

    def findings(self) -> "pa.Table":
        """Return one row per finding, sorted by study, image, run and finding (1-based within its image).

        Boxes are half-open, in native pixels; area_mm2 is null where the pixel spacing is not known. z is null for 2-D
        images, and so is what stands in slices counted from 1, sides and centre in mm (docs/volumes.md). The schema's
        metadata hold the bundles' notices.
        """
        from mammofast.screening.columns import findings_table

        return findings_table(self.entries(), self.notices())

    def images(self) -> "pa.Table":
        """Return one row per image and run, and per file that never became an image, sorted as ``findings`` is.

        Such a file's content_sha256 is that of the file itself.
        """
        from mammofast.screening.columns import images_table

        return images_table(self.entries(), self.notices())

    def mask(self, sop_uid: str, bundle_id: str | None = None, settings_id: str | None = None) -> npt.NDArray[np.bool_]:
        """Return all findings of an image as one mask, bool (rows, cols), native resolution.

        Of a volume it is bool (slices, rows, cols): the findings' boxes as far as they are within the breast region.

        bundle_id, settings_id: which run's; needed where there are several.

        Raises
        ------
        ResultsError
            When there is no such result, the image was not screened, or there is more than one result.

        """
        entry = self._done(sop_uid, bundle_id, settings_id)
        shape = (entry.image.rows or 0, entry.image.cols or 0)
        try:
            if (region := entry.region_mask()) is not None:
                return combine_boxes((stored.volume_finding() for stored in entry.findings), region)
            return combine_masks([stored.finding() for stored in entry.findings], shape)
        except (ValueError, IndexError) as error:
            raise ResultsError(f"{sop_uid}: its mask cannot be read: {error}") from error

    def region(
        self, sop_uid: str, bundle_id: str | None = None, settings_id: str | None = None
    ) -> npt.NDArray[np.bool_]:
        """Return a volume's breast region, bool (slices, rows, cols).

        bundle_id, settings_id: which run's; needed where there are several.

        Raises
        ------
        ResultsError
            As :meth:`mask`, and where it is an image.

        """
        try:
            region = self._done(sop_uid, bundle_id, settings_id).region_mask()
        except ValueError as error:
            raise ResultsError(f"{sop_uid}: its breast region cannot be read: {error}") from error
        if region is None:
            raise ResultsError(f"{sop_uid} is an image, expected a volume: only that has a breast region")
        return region

    def spacing(
        self, sop_uid: str, bundle_id: str | None = None, settings_id: str | None = None
    ) -> tuple[float, float, float] | None:
        """Return a volume's mm between slices, rows and columns, where known; parameters and errors as of ``mask``."""
        return self._done(sop_uid, bundle_id, settings_id).image.spacing

    def pixel_spacing(
        self, sop_uid: str, bundle_id: str | None = None, settings_id: str | None = None
    ) -> tuple[float, float] | None:
        """Return an image's mm between rows and between columns, where known.

        bundle_id, settings_id: which run's; needed where there are several.

        Raises
        ------
        ResultsError
            As :meth:`detections`.

        """
        return self._done(sop_uid, bundle_id, settings_id).image.pixel_spacing

    def detections(
        self, sop_uid: str, bundle_id: str | None = None, settings_id: str | None = None
    ) -> npt.NDArray[np.float32]:
        """Return what an image's findings were fused from, float32 (n, 6): :attr:`mammofast.ImageResult.detections`.

        bundle_id, settings_id: which run's; needed where there are several.

        Raises
        ------
        ResultsError
            When there is no such result, the image was not screened, or there is more than one result.

        """
        return self._done(sop_uid, bundle_id, settings_id).detection_rows()

    def _done(self, sop_uid: str, bundle_id: str | None, settings_id: str | None) -> Entry:
        found = [
            entry
            for entry in map(self._read, self._by_sop_uid(sop_uid))
            if entry is not None
            and entry.image.is_image
            and bundle_id in (None, entry.run.bundle_id)
            and settings_id in (None, entry.run.settings_id)
        ]
        if not found:
            raise ResultsError(f"{self.path}: no result for SOP Instance UID {sop_uid} with these ids")
        if len(found) > 1:
            ids = "; ".join(f"bundle_id {e.run.bundle_id}, settings_id {e.run.settings_id}" for e in found)
            raise ResultsError(f"{sop_uid} has {len(found)} results, say which: {ids}")
        (entry,) = found
        if entry.status != DONE:
            raise ResultsError(f"{sop_uid} was not screened, it is {entry.status}: {entry.reason}")
        return entry

    def _by_sop_uid(self, sop_uid: str) -> list[Path]:
        """Return an image's files; names are listed once, and again where one is not among them."""
        if self._names is None or sop_uid not in self._names:
            self._names = {}
            for path in layout.entry_paths(self.path):
                self._names.setdefault(layout.sop_uid_of(path), []).append(path)
        return self._names.get(sop_uid, [])

    def _read(self, path: Path) -> Entry | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # forgotten since the names were listed
            return None
        except OSError as error:
            raise ResultsError(f"{path.parent}: a result cannot be read ({error.strerror})") from error
        if not is_whole(content):
            return layout.damaged_entry(self.path, path)
        try:
            return parse_entry(content)
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{path}: {error}") from error


def _is_new(folder: Path) -> bool:
    """Say whether there are no results yet, where there can be some."""
    try:
        if layout.header_path(folder).exists():
            return False
        if folder.exists() and (not folder.is_dir() or any(p.name[0] != "." for p in folder.iterdir())):
            raise ResultsError(f"{folder}: holds no results but is not empty; give a new folder")
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be looked into ({error.strerror})") from error
    return True


def open_results(path: str | Path) -> Results:
    """Open a results folder to read.

    Raises
    ------
    ResultsError
        When it is none.

    """
    return Results(path)
