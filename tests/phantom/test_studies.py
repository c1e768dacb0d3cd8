"""Studies on disk: sound DICOM, true masks, the same bytes for the same seed."""

import json
import shutil

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID, HTJ2KLossless

from mammofast.errors import PhantomError
from mammofast.phantom import make_image, write_studies
from mammofast.phantom.dicom import sop_uid, study_uid
from mammofast.phantom.plan import plan_studies

SEED = 3


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantoms")
    counted = []
    names = write_studies(out, 3, SEED, workers=2, progress=counted.append)
    assert sum(counted) == len(names) == 12
    return out


@pytest.fixture(scope="module")
def headers(written):
    return [dcmread(path, stop_before_pixels=True) for path in sorted((written / "dicom").glob("*/*.dcm"))]


def test_each_study_has_four_views_and_all_uids_differ(headers):
    assert len({h.SOPInstanceUID for h in headers}) == 12
    assert len({h.SeriesInstanceUID for h in headers}) == 12
    studies = {}
    for h in headers:
        view = h.ViewCodeSequence[0].CodeMeaning
        studies.setdefault(h.StudyInstanceUID, set()).add((h.ImageLaterality, h.ViewPosition, view))
    expected = {(s, *v) for s in "LR" for v in (("CC", "cranio-caudal"), ("MLO", "medio-lateral oblique"))}
    assert list(studies.values()) == [expected] * 3
    for h in headers:
        for name in (h.SOPInstanceUID, h.StudyInstanceUID, h.SeriesInstanceUID):
            assert UID(name).is_valid
            assert name.startswith("2.25.")
            assert 0 < int(name.split(".")[2]) < 2**128


def test_files_are_named_by_their_uids(written, headers):
    for h in headers:
        assert (written / "dicom" / h.StudyInstanceUID / f"{h.SOPInstanceUID}.dcm").is_file()


def test_truth_is_native_and_brighter_where_a_mass_is(written, headers):
    masses = json.loads((written / "truth" / "masses.json").read_text())
    seen = 0
    for h in headers:
        truth = cv2.imread(str(written / "truth" / f"{h.SOPInstanceUID}.png"), cv2.IMREAD_UNCHANGED)
        assert truth.dtype == np.uint8
        assert truth.shape == (h.Rows, h.Columns)
        mine = [m for m in masses if m["sop_uid"] == h.SOPInstanceUID]
        assert sorted(m["mass"] for m in mine) == list(range(1, truth.max() + 1))
        for m in mine:
            rows, cols = np.nonzero(truth == m["mass"])
            assert m["box"] == [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
            assert m["contrast_to_noise"] > 0.85
            assert m["subtle"] == (m["contrast_to_noise"] < 1.3)
            seen += 1
    # 2.4 breasts of 6 hold a mass, 0.4 of them two: 2 masses, in two views each.
    assert seen == 4


def test_the_chest_wall_is_where_the_laterality_says(written, headers):
    for h in headers:
        if h.file_meta.TransferSyntaxUID == HTJ2KLossless:
            continue
        pixels = dcmread(written / "dicom" / h.StudyInstanceUID / f"{h.SOPInstanceUID}.dcm").pixel_array
        air = 0 if h.PhotometricInterpretation == "MONOCHROME2" else pixels.max()
        halves = [(side != air).mean() for side in np.array_split(pixels, 2, axis=1)]
        assert (halves[0] > halves[1]) == (h.ImageLaterality == "L")


def test_an_image_made_alone_is_the_one_written(written):
    planned = plan_studies(3, SEED)
    for views in planned:
        for v in views[:3]:
            image = dcmread(written / "dicom" / study_uid(v) / f"{sop_uid(v)}.dcm")
            if image.file_meta.TransferSyntaxUID == HTJ2KLossless:
                continue
            pixels, truth = make_image(SEED, study=v.study, side=v.side, view=v.view, studies=3)
            np.testing.assert_array_equal(pixels, image.pixel_array)
            path = written / "truth" / f"{sop_uid(v)}.png"
            np.testing.assert_array_equal(truth, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        break
    with pytest.raises(ValueError, match="'XX'"):
        make_image(SEED, view="XX")


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(written, tmp_path):
    write_studies(tmp_path, 3, SEED, workers=1)
    names = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())
    assert len(names) == 25
    for name in names:
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes(), name


def test_another_set_is_refused_and_left_alone(written):
    before = {p: p.stat().st_mtime_ns for p in written.rglob("*") if p.is_file()}
    for studies, seed in ((2, SEED), (3, SEED + 1)):
        with pytest.raises(PhantomError, match=r"holds 12 images of another set"):
            write_studies(written, studies, seed, workers=1)
    assert {p: p.stat().st_mtime_ns for p in written.rglob("*") if p.is_file()} == before


def test_an_unfinished_set_is_finished(written, tmp_path):
    for part in ("dicom", "truth"):
        shutil.copytree(written / part, tmp_path / part)
    (tmp_path / "truth" / "masses.json").unlink()
    gone = next(tmp_path.glob("truth/*.png"))
    gone.unlink()
    write_studies(tmp_path, 3, SEED, workers=2)
    assert gone.exists()
    assert (tmp_path / "truth" / "masses.json").read_bytes() == (written / "truth" / "masses.json").read_bytes()


def test_truth_alone_of_another_set_is_refused(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "1.2.3.png").write_bytes(b"")
    with pytest.raises(PhantomError, match="holds 1 images"):
        write_studies(tmp_path, 1, SEED, workers=1)
