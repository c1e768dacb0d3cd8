"""The report page in a real browser: what a person sees."""

import html
import json
import os
import re
import shutil
import subprocess

import imagecodecs
import numpy as np
import pytest

import mammofast
from mammofast.report.html import write_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("MAMMOFAST_REQUIRE_TOOLS"),
    reason="NOT TESTED: the report page needs a browser; apt-get install chromium",
)


def browse(page, profile, *arguments):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
        *arguments,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_page_shows_every_study_view_and_finding(demo, tmp_path):
    dom = browse(demo.page, tmp_path, "--dump-dom")
    results = mammofast.open_results(demo.results)
    images, findings = results.images().to_pylist(), results.findings().to_pylist()
    assert dom.count('<section class="study">') == len({image["study_uid"] for image in images})
    assert dom.count("<figure>") == len(images)
    assert dom.count('class="finding"') == len(findings)
    for image in images:
        assert image["sop_uid"] in dom
    assert results.notices()[0] in dom
    outlined = re.findall(r'<path d="([^"]+)"', dom)
    assert len(outlined) == sum(f["area_px"] > 0 for f in findings)
    assert dom.count("<details>") == len(findings)
    assert dom.count('class="map"') >= len({f["sop_uid"] for f in findings})


def test_page_needs_nothing_beside_it_and_names_no_patient(demo):
    page = demo.page.read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "url(" not in page
    header = next(mammofast.open_archive(demo.archive).images()).header
    assert str(header.PatientID)
    assert str(header.PatientID) not in page
    assert str(header.PatientName) not in page


def test_overview_shows_when_it_ran_and_how_fast(demo, tmp_path):
    """By the browser's own account of the text that it shows, at the top of the page."""
    look = (
        "<script>const at = document.querySelector('.timings'), box = at.getBoundingClientRect();"
        "document.body.dataset.seen = JSON.stringify({text: document.querySelector('.counts').innerText + '\\n' + "
        "at.innerText, width: box.width, bottom: box.bottom})</script></body>"
    )
    copy = tmp_path / "page.html"
    copy.write_text(demo.page.read_text().replace("</body>", look))
    (seen,) = re.findall(r'data-seen="([^"]*)"', browse(copy, tmp_path / "profile", "--dump-dom"))
    seen = json.loads(html.unescape(seen))
    assert seen["width"] > 300
    assert 0 < seen["bottom"] < 900
    (run,) = mammofast.open_results(demo.results).runs()
    (timing,) = run["timings"]
    rate = f"{timing['images'] / timing['seconds']:.2f}"
    assert f"{rate}\nimages/s" in seen["text"]
    for words in (timing["started"][:10], timing["ended"][11:19], f"{timing['image_ms']['p95']:.0f} ms", "Took"):
        assert words in seen["text"]
    assert timing["images"] == mammofast.open_results(demo.results).images().num_rows


def test_without_the_archive_nothing_is_black(demo, tmp_path):
    results = shutil.copytree(demo.results, tmp_path / "results")
    header = json.loads((results / "results.json").read_text())
    header["archive"] |= {"path": str(tmp_path / "gone"), "relative": "gone"}
    (results / "results.json").write_text(json.dumps(header))
    page, shot = write_html(results, tmp_path / "report"), tmp_path / "page.png"
    browse(page, tmp_path / "profile", f"--screenshot={shot}", "--window-size=1300,2000")
    picture = imagecodecs.png_decode(shot.read_bytes())[..., :3]
    assert (picture.max(axis=2) < 40).mean() < 0.02
    assert page.read_text().count("image not available") == 8


def test_outlines_are_drawn_where_the_masks_are(demo, tmp_path):
    shot = tmp_path / "page.png"
    browse(demo.page, tmp_path / "profile", f"--screenshot={shot}", "--window-size=1300,2600")
    picture = imagecodecs.png_decode(shot.read_bytes())[..., :3].astype(int)
    assert picture.std() > 20
    mark = np.array([0xE8, 0xA2, 0x00])
    assert (np.abs(picture - mark).max(axis=2) < 40).sum() > 200
