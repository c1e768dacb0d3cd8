"""A results folder run by run: results of two bundles, or of two settings, are never added up."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mammofast.archive import Archive
from mammofast.archive.store import image_folders
from mammofast.methods.screener import OF_VOLUMES
from mammofast.screening import Results
from mammofast.screening.entry import DONE, Entry, Run


@dataclass(frozen=True, slots=True)
class RunOverview:
    """One run and all its outcomes.

    summary: of :meth:`Results.runs`; empty where it is lost.
    not_on_record: how many images and volumes of the archive have no outcome in this run; None where that is not there.
    """

    run: Run
    summary: Mapping[str, Any]
    entries: list[Entry]
    not_on_record: int | None

    @property
    def of_volumes(self) -> bool:
        """Whether its bundle reads volumes, and not images."""
        return self.summary.get("method") in OF_VOLUMES

    @property
    def units(self) -> str:
        """What it counts."""
        return "volumes" if self.of_volumes else "images"

    @property
    def rate_unit(self) -> str:
        """In what its speed is told: see :func:`mammofast.report.words.rate`."""
        return "volumes/h" if self.of_volumes else "images/s"

    @property
    def counts(self) -> Counter[str]:
        """How many outcomes there are of each status."""
        return Counter(entry.status for entry in self.entries)

    @property
    def done(self) -> list[Entry]:
        """Images that were screened."""
        return [entry for entry in self.entries if entry.status == DONE]

    @property
    def unused(self) -> list[Entry]:
        """Images and files that were not."""
        return [entry for entry in self.entries if entry.status != DONE]

    @property
    def reasons(self) -> Counter[str]:
        """How many of them there are of each reason's first word."""
        return Counter((entry.reason or "").partition(":")[0] for entry in self.unused)

    @property
    def timings(self) -> list[Mapping[str, Any]]:
        """When the run was worked on, first to last: see :meth:`mammofast.screening.timing.Stopwatch.as_dict`."""
        return list(self.summary.get("timings", ()))

    @property
    def images_per_second(self) -> float | None:
        """Of all that came to an end, start of the workers included; None where nothing did."""
        ended = [timing for timing in self.timings if timing["seconds"]]
        seconds = sum(timing["seconds"] for timing in ended)
        return sum(timing["images"] for timing in ended) / seconds if seconds else None

    @property
    def n_findings(self) -> int:
        """Findings of all images."""
        return sum(len(entry.findings) for entry in self.entries)


def overviews(results: Results, archive: Archive | None) -> list[RunOverview]:
    """Return every run of a results folder, by its ids."""
    summaries = {Run(summary["bundle_id"], summary["settings_id"]): summary for summary in results.runs()}
    entries: dict[Run, list[Entry]] = defaultdict(list, {run: [] for run in summaries})
    for entry in results.entries():
        entries[entry.run].append(entry)
    images = None if archive is None else {folder.name for folder in image_folders(archive.path)}
    if images is not None and archive is not None:
        images |= {volume.record.sop_uid for volume in archive.volumes()}
    return [
        RunOverview(run, summaries.get(run, {}), found, None if images is None else len(images - _sop_uids(found)))
        for run, found in sorted(entries.items(), key=lambda item: (item[0].bundle_id, item[0].settings_id))
    ]


def _sop_uids(entries: list[Entry]) -> set[str]:
    return {entry.image.sop_uid for entry in entries if entry.image.is_image and entry.image.sop_uid is not None}
