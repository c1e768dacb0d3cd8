"""NaN and infinity out of a network, through the whole command: that image fails, the others are done."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mammofast import open_results
from tests.hard.shell import contents, mammofast


@pytest.fixture(scope="module")
def pair(tmp_path_factory, images):
    """Two archives of the same four images, of which the second has one more, whose first pixels are bright."""
    folders = [tmp_path_factory.mktemp("pair") / name for name in ("without", "with")]
    for folder in folders:
        for seed in range(4):
            pixels, _ = images.bright_pixels(seed)
            pixels[:60, :60] = 300
            images.write_dicom(folder / "dicom" / f"{seed}.dcm", pixels, "1.2.1", f"1.2.1.{seed}.1")
    pixels, _ = images.bright_pixels(7)
    pixels[:60, :60] = 4000
    images.write_dicom(folders[1] / "dicom" / "bright.dcm", pixels, "1.2.1", "1.2.1.99.1")
    for folder in folders:
        assert mammofast("ingest", folder / "dicom", folder / "archive.zarr").returncode == 0
    return [folder / "archive.zarr" for folder in folders]


def screened(archive, bundle, results):
    done = mammofast("screen", archive, results, "--bundle", bundle, "--workers", 1, "--verbose")
    assert "Traceback" not in done.stderr
    rows = open_results(results).images().to_pylist()
    return done, {row["sop_uid"]: (row["status"], row["reason"], row["n_findings"]) for row in rows}


def test_nan_for_one_image_fails_that_image_and_changes_no_other(tmp_path, pair, networks):
    detector = networks.bright_detector(nan_where_first_pixel_is_bright=True)
    bundle = networks.write_bundle(tmp_path / "bundle", detector=detector)
    without, rows = screened(pair[0], bundle, tmp_path / "without")
    assert (without.returncode, {row[0] for row in rows.values()}) == (0, {"done"})
    assert sum(row[2] for row in rows.values()) > 0
    done, rows = screened(pair[1], bundle, tmp_path / "with")
    assert done.returncode == 3
    assert "4 done, 0 skipped, 1 failed" in done.stdout
    status, reason, _ = rows["1.2.1.99.1"]
    assert status == "failed"
    assert reason.startswith("not-finite: ")
    assert "failed: 1.2.1.99.1: not-finite: " in done.stderr
    others = {name: data for name, data in contents(tmp_path / "with" / "images").items() if "/1.2.1.99.1-" not in name}
    assert others == contents(tmp_path / "without" / "images")


@pytest.mark.parametrize("bias", [float("nan"), float("inf")], ids=str)
def test_masks_that_are_not_numbers_fail_the_images_that_have_candidates(tmp_path, pair, networks, bias):
    sound = networks.write_bundle(tmp_path / "sound")
    _, expected = screened(pair[0], sound, tmp_path / "sound-results")
    # Sigmoid makes 1 of infinity: as a crop's logits it is a mask; NaN never is.
    segmenter = networks.bright_segmenter(bias=bias)
    bundle = networks.write_bundle(tmp_path / "bundle", segmenter=segmenter)
    done, rows = screened(pair[0], bundle, tmp_path / "results")
    with_candidates = {sop_uid for sop_uid, row in expected.items() if row[2]}
    assert 0 < len(with_candidates) < 4
    failed = {sop_uid for sop_uid, row in rows.items() if row[0] == "failed"}
    assert failed == (with_candidates if bias != bias else set())
    assert all(rows[sop_uid][1].startswith("not-finite: ") for sop_uid in failed)
    assert done.returncode == (3 if failed else 0)


def test_infinity_out_of_the_detector_fails_the_images(tmp_path, pair, networks):
    """Where it is confident without bounds, its logits are no confidence: sigmoid would make 1 of them."""
    detector = onnx.load_from_string(networks.bright_detector())
    (bias,) = (tensor for tensor in detector.graph.initializer if tensor.name == "b8")
    bias.CopyFrom(numpy_helper.from_array(np.full(18, np.inf, np.float32), "b8"))
    bundle = networks.write_bundle(tmp_path / "bundle", detector=detector.SerializeToString())
    done, rows = screened(pair[0], bundle, tmp_path / "results")
    assert done.returncode == 3
    assert {(status, reason.partition(":")[0]) for status, reason, _ in rows.values()} == {("failed", "not-finite")}
