"""What a results folder says of its runs: the bundle, the settings, the software they were made with, and when."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mammofast.screening import layout
from mammofast.screening.entry import Run
from mammofast.screening.files import json_bytes, make_folder, read_json, remove_abandoned, write_once, write_over


def write_summary(results: Path, run: Run, summary: Mapping[str, Any]) -> None:
    """Say what a run is, unless that is said already; ``summary`` is JSON-ready."""
    path = layout.summary_path(results, run)
    if not path.exists():
        _make(path.parent)
        write_once(path, json_bytes(summary))


def write_versions(results: Path, run: Run, versions: Mapping[str, str]) -> None:
    """Say what a run's results are made with from now on; what was said before stays.

    Each set of versions is a file named by its hash: the same set changes nothing, and runs that start at once take
    nothing from each other.
    """
    content = json_bytes(versions)
    path = layout.versions_folder(results, run) / f"{hashlib.sha256(content).hexdigest()[:16]}.json"
    if not path.exists():
        _make(path.parent)
        write_once(path, content)


def write_timing(results: Path, run: Run, name: str, timing: Mapping[str, Any]) -> None:
    """Say when a run was worked on, over what was said under the same name; ``timing`` is JSON-ready."""
    folder = layout.timings_folder(results, run)
    if not folder.is_dir():
        _make(folder)
    write_over(folder / f"{name}.json", json_bytes(timing))


def read_summaries(results: Path) -> list[dict[str, Any]]:
    """Return every run's summary with its ids.

    As "versions" all sets of versions it was made with, as "timings" what :mod:`mammofast.screening.timing` kept.

    Raises
    ------
    ResultsError
        When one is damaged.

    """
    found = []
    for run in layout.runs(results):
        summary = read_json(layout.summary_path(results, run), "a run's summary cannot be read")
        paths = layout.versions_folder(results, run).glob("[!.]*.json")
        versions = [read_json(path, "a run's versions cannot be read") for path in paths]
        timed = sorted(layout.timings_folder(results, run).glob("[!.]*.json"))
        timings = [read_json(path, "a run's timing cannot be read") for path in timed]
        versions.sort(key=lambda v: sorted(v.items()))
        found.append({**summary, **asdict(run), "versions": versions, "timings": timings})
    return found


def in_words(runs: Iterable[Run], summaries: Iterable[Mapping[str, Any]]) -> str:
    """Return runs by their ids and their bundles' names, for whoever has to say which is meant."""
    names = {summary["bundle_id"]: summary.get("name") for summary in summaries}
    return "; ".join(f"bundle_id {r.bundle_id} ({names.get(r.bundle_id)}), settings_id {r.settings_id}" for r in runs)


def _make(folder: Path) -> None:
    make_folder(folder)
    remove_abandoned(folder)
