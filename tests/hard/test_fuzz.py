"""Some hundred of the mutations that bench/fuzz.py makes ten thousand of, and what the ledger says of some of them."""

import json
import subprocess
import sys

import pytest

from mammofast import open_archive, open_results
from mammofast.errors import Reason
from tests.hard.mutations import IDENTIFIERS, Mutations
from tests.hard.shell import ROOT, mammofast


def test_every_mutation_ends_with_a_reason(tmp_path):
    # As ``python -m bench.fuzz``, but with the installed package.
    code = f"import runpy, sys; sys.path.append({str(ROOT)!r}); runpy.run_module('bench.fuzz', run_name='__main__')"
    options = ["--mutations", "368", "--seed", "3", "--json", tmp_path / "fuzz.json"]
    words = [sys.executable, "-P", "-c", code, *options]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (case,) = json.loads((tmp_path / "fuzz.json").read_text())["cases"]
    assert case["not_as_demanded"] == []
    assert len(case["outcomes_by_transfer_syntax"]) == 16
    for outcomes in case["outcomes_by_transfer_syntax"].values():
        assert outcomes["added"] > 0
        assert sum(count for outcome, count in outcomes.items() if outcome.startswith("failed")) > 0
    assert sum(case["outcomes"].values()) == 368


def test_the_same_seed_makes_the_same_mutations(dicom):
    first, second, other = Mutations(dicom, 5), Mutations(dicom, 5), Mutations(dicom, 6)
    assert [first.make(n) for n in range(100)] == [second.make(n) for n in range(100)]
    assert [first.make(n).data for n in range(100)] != [other.make(n).data for n in range(100)]


@pytest.mark.parametrize("seed", [11])
def test_each_has_a_row_in_the_ledger_and_all_others_are_done(tmp_path, dicom, bundle, images, seed):
    mutations = Mutations(dicom, seed)
    source = tmp_path / "SECRET"
    images.write_dicom(source / "sound.dcm", images.bright_pixels(1)[0], "1.2.1", "1.2.1.1.1")
    made = {}
    for number in range(300):
        mutation = mutations.make(number)
        if not mutation.is_zip and mutation.kind not in ("deflate_bomb", "size_bomb"):
            made[mutation.data] = mutation
            (source / f"{number}.dcm").write_bytes(mutation.data)
    archive, results = tmp_path / "archive.zarr", tmp_path / "results"
    ingested = mammofast("ingest", source, archive, "--verbose")
    assert ingested.returncode == 3, ingested.stderr
    screened = mammofast("screen", archive, results, "--bundle", bundle, "--workers", 1, "--verbose")
    assert screened.returncode == 3, screened.stderr
    for said in (ingested, screened):
        assert "Traceback" not in said.stderr
        assert not any(name in said.stdout + said.stderr for name in IDENTIFIERS)
    rows = open_results(results).images().to_pylist()
    assert len(rows) == len(made) + 1
    by_status = {status: [row for row in rows if row["status"] == status] for status in ("done", "skipped", "failed")}
    assert "1.2.1.1.1" in {row["sop_uid"] for row in by_status["done"]}
    reasons = {row["reason"].partition(":")[0] for row in by_status["skipped"] + by_status["failed"]}
    assert reasons <= set(Reason) - {Reason.INTERNAL, Reason.WORKER}
    assert len(reasons) >= 6
    # What was added and still failed did so for its own grey scale or pixels.
    images_failed = {row["sop_uid"] for row in by_status["failed"]} & {
        image.record.sop_uid for image in open_archive(archive).images()
    }
    assert len(images_failed) < len(by_status["done"]) / 2
