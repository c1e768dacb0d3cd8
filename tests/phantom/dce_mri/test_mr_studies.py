"""DCE-MRI studies on disk: the same bytes for the same seed, truth beside them, and the command that writes them."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import dcmread

from mammofast.cli import main
from mammofast.errors import PhantomError
from mammofast.phantom.dce_mri import make_case, write_studies

SEED = 3


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantoms")
    counted = []
    names = write_studies(out, 4, SEED, workers=2, progress=counted.append)
    assert sum(counted) == len(set(names)) == 4
    return out


def test_each_case_has_its_truth(written):
    truths = sorted((written / "truth").glob("*.json"))
    assert len(truths) == len(list((written / "truth").iterdir())) // 2 == 4
    for path in truths:
        truth = json.loads(path.read_text())
        assert truth["sop_uid"] == path.stem
        files = list((written / "dicom" / truth["study_uid"]).glob("*.dcm"))
        labels = np.load(path.with_suffix(".npy"), allow_pickle=False)
        assert labels.dtype == np.uint8
        assert list(labels.shape) == truth["shape"]
        assert labels.max() == 1 + len(truth["masses"])
        first = dcmread(written / "dicom" / truth["study_uid"] / f"{path.stem}.dcm", stop_before_pixels=True)
        assert first.SeriesInstanceUID == truth["series_uid"]
        frames = sum(int(dcmread(file, stop_before_pixels=True).get("NumberOfFrames", 1)) for file in files)
        assert frames == len(truth["times"]) * labels.shape[0]
        assert [first.Rows, first.Columns] == truth["shape"][1:]


def test_a_case_made_alone_is_the_one_written(written):
    truth = next(t for t in (json.loads(p.read_text()) for p in (written / "truth").glob("*.json"))
                 if len(list((written / "dicom" / t["study_uid"]).glob("*.dcm"))) == 1)  # fmt: skip
    case = make_case(SEED, study=3, studies=4)
    image = dcmread(written / "dicom" / truth["study_uid"] / f"{truth['sop_uid']}.dcm")
    contents = [frame.FrameContentSequence[0] for frame in image.PerFrameFunctionalGroupsSequence]
    for content, pixels in zip(contents, image.pixel_array, strict=True):
        np.testing.assert_array_equal(
            pixels, case.phases[content.TemporalPositionIndex - 1, content.InStackPositionNumber - 1]
        )
    labels = np.load(written / "truth" / f"{truth['sop_uid']}.npy", allow_pickle=False)
    np.testing.assert_array_equal(labels, case.labels)
    assert truth["masses"] == list(case.masses)


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(written, tmp_path):
    write_studies(tmp_path, 4, SEED, workers=1)
    names = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())
    for name in names:
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes(), name


def test_another_set_is_refused_and_left_alone(written, tmp_path):
    shutil.copytree(written / "truth", tmp_path / "truth")
    (tmp_path / "dicom" / "1.2.3").mkdir(parents=True)
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(PhantomError, match="holds 9 studies or truth files of another set"):
        write_studies(tmp_path, 4, SEED + 1, workers=1)
    with pytest.raises(PhantomError, match="holds 1 studies"):
        write_studies(tmp_path, 4, SEED, workers=1)
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_the_command_writes_volumes_and_refuses_a_folder_of_mammograms(tmp_path):
    out = tmp_path / "out"
    arguments = ["phantom", str(out), "--kind", "dce-mri", "--studies", "1", "--seed", "2", "--workers", "1"]
    ran = CliRunner().invoke(main, [*arguments, "--json", "--quiet"])
    assert ran.exit_code == 0, ran.output
    (name,) = json.loads(ran.output)["volumes"]
    assert (out / "truth" / f"{name}.npy").is_file()
    ran = CliRunner().invoke(main, ["phantom", str(out), "--studies", "1", "--quiet"])
    assert ran.exit_code == 1
    assert "another set of phantoms" in ran.output
    assert CliRunner().invoke(main, ["phantom", str(out), "--studies", "1", "--kind", "ct"]).exit_code == 2
