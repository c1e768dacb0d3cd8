"""The method of P5 against one slice at a time, with the formulas written out once more."""

import json

import numpy as np
import pytest

import mammofast
from mammofast.bundles import load_bundle
from mammofast.engine import load_engine
from mammofast.errors import BrokenImage, BundleError
from mammofast.methods import faster_rcnn, volume
from mammofast.methods.faster_rcnn import Anchors
from mammofast.methods.linking import Linking, link_slices
from mammofast.methods.parameters import read_parameters
from mammofast.methods.volume_inputs import ArrayVolume, Input
from mammofast.records import VolumeResult
from mammofast.settings import Settings
from tests.methods import volume_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return volume_bundle.write_bundle(tmp_path_factory.mktemp("bundle") / "b")


def screener(folder, batch=1):
    """The method over a bundle's networks, with batches of a size."""
    opened = load_bundle(folder)
    engines = {name: load_engine(opened.read(name), "onnxruntime") for name in opened.networks}
    parameters = read_parameters(volume.VolumeParameters, opened.parameters, "test")
    return volume.Volume(parameters, engines, Settings("cpu", batch, batch)), engines


def bilinear(image, shape):
    """A slice stretched up, between pixel centres, edges repeated."""
    at = [
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for new, old in zip(shape, image.shape, strict=True)
    ]
    low = [np.floor(each).astype(int) for each in at]
    high = [np.minimum(each + 1, old - 1) for each, old in zip(low, image.shape, strict=True)]
    (fy, fx), (y0, x0), (y1, x1) = (at[0] - low[0], at[1] - low[1]), low, high
    rows = image[y0] * (1 - fy)[:, None] + image[y1] * fy[:, None]
    return rows[:, x0] * (1 - fx) + rows[:, x1] * fx


def by_hand(folder, values):
    """Slice after slice: region, mask, Faster R-CNN as its own module does it for one image, boxes linked."""
    opened = load_bundle(folder)
    region, trunk, head = (load_engine(opened.read(name), "onnxruntime") for name in ("region", "trunk", "head"))
    values = values.astype(np.float64)
    unit = volume.Input(**opened.parameters["region"]).rows(ArrayVolume(values))
    masks = [region.run({"image": each[None]})["mask"][0, 0] for each in unit]
    inside = np.stack([bilinear(mask, (96, 128)) >= 0.5 for mask in masks])
    enhancement = np.stack([bilinear(each, (96, 128)) for each in values[1] - values[0]])
    low, high = enhancement[inside].min(), enhancement[inside].max()
    images = np.where(inside, (enhancement - low) / (high - low), 0).astype(np.float32)
    settings = faster_rcnn.Settings(anchors=Anchors(scales=(1, 2), ratios=(1.0,)), proposals=20, score_threshold=0.6)
    found = [
        faster_rcnn.detect(
            image[None, None],
            lambda x: [trunk.run({"image": x})[name] for name in ("features", "objectness", "deltas")],
            lambda x: [head.run({"rois": x})[name] for name in ("classes", "deltas")],
            settings,
        )[0]
        for image in images
    ]
    boxes, scores = (np.concatenate([getattr(each, name) for each in found]) for name in ("boxes", "scores"))
    number = np.repeat(np.arange(len(found)), [len(each.boxes) for each in found])
    native = np.stack([bilinear(mask, values.shape[2:]) >= 0.5 for mask in masks])
    return link_slices(boxes, scores, number, Linking(min_iou=0.3)), native


@pytest.mark.parametrize(("batch", "proposals"), [(1, 64), (4, 7)])  # 7: a slice's 20 take three runs of the head
@pytest.mark.parametrize("seed", range(3))
def test_batches_give_what_a_slice_at_a_time_gives(bundle, seed, batch, proposals, monkeypatch):
    monkeypatch.setattr(volume, "_HEAD_BATCH", proposals)
    values = volume_bundle.phases(seed, masses=1 + seed % 2)
    expected, region = by_hand(bundle, values)
    (result,) = screener(bundle, batch)[0].screen([ArrayVolume(values)])
    assert result.error is None
    assert expected, "a test of nothing"
    assert len(result.findings) == len(expected)
    for finding, candidate in zip(result.findings, expected, strict=True):
        x_min, y_min, z_min, x_max, y_max, z_max = candidate.box
        assert (finding.z_min, finding.z_max) == (z_min, z_max)
        assert finding.score == finding.confidence == pytest.approx(candidate.score, abs=1e-5)
        exact = np.array([x_min * 80 / 128, y_min * 60 / 96, x_max * 80 / 128, y_max * 60 / 96])
        assert (np.abs(np.array(finding.box) - exact) < 0.501).all()
    assert (result.region != region).mean() < 1e-3
    assert 0.1 < result.region.mean() < 0.6
    mass = result.mask
    assert mass.any()
    assert not mass[~result.region].any()


def test_a_candidate_is_where_the_mass_is(bundle):
    with mammofast.open_bundle(bundle) as opened:
        result = opened.screen_volume(volume_bundle.phases(masses=1, slices=7), spacing=(2.5, 1, 1))
    best = result.findings[0]
    assert (best.z_min, best.z_max) == (2, 6)
    x_min, y_min, x_max, y_max = best.box
    assert x_min <= 21.6 <= x_max
    assert y_min <= 30 <= y_max
    assert isinstance(result, VolumeResult)


def test_the_same_volume_gives_the_same_findings_whatever_is_screened_with_it(bundle):
    volumes = [ArrayVolume(volume_bundle.phases(seed, slices=3 + seed)) for seed in range(4)]
    method, _ = screener(bundle)
    together = method.screen(volumes)
    assert [method.screen([each])[0] for each in volumes] == together
    assert method.screen(volumes[::-1])[::-1] == together


def test_nan_is_the_error_of_its_volume(tmp_path):
    folder = volume_bundle.write_bundle(tmp_path / "b", {"trunk": volume_bundle.trunk(nan_above=0.9)})
    method, _ = screener(folder)
    bright, dim = volume_bundle.phases(), volume_bundle.phases(masses=0)
    dim[1] = dim[0] + 5
    results = method.screen([ArrayVolume(bright), ArrayVolume(dim)])
    assert results[0].error.startswith("not-finite: the trunk gave NaN")
    assert results[0].findings == ()
    assert results[1].error is None
    with mammofast.open_bundle(folder) as opened, pytest.raises(BrokenImage, match="NaN"):
        opened.screen_volume(bright)


def test_values_that_are_not_finite_are_refused(bundle):
    values = volume_bundle.phases().astype(np.float32)
    values[1, 2, 3, 4] = np.inf
    (result,) = screener(bundle)[0].screen([ArrayVolume(values)])
    assert result.error.startswith("not-finite: the volume holds")


def test_a_volume_without_the_phase_that_is_read(tmp_path):
    detection = {**volume_bundle.PARAMETERS["detection"], "channels": [{"phase": 2, "minus": 0}]}
    folder = volume_bundle.write_bundle(tmp_path / "b", detection=detection)
    (result,) = screener(folder)[0].screen([ArrayVolume(volume_bundle.phases())])
    assert result.error == "missing-phases: the bundle reads phases 0, 2 (0 is the baseline), the volume has 2"


def test_where_there_is_no_breast_the_detector_does_not_look(bundle, monkeypatch):
    method, engines = screener(bundle)
    seen = []
    run = engines["trunk"].run
    monkeypatch.setattr(engines["trunk"], "run", lambda tensors: seen.append(tensors) or run(tensors))
    values = volume_bundle.phases(slices=6)  # the first slice has none
    assert method.screen([ArrayVolume(values)])[0].error is None
    assert len(seen) == 5
    values[0] = 0
    (result,) = method.screen([ArrayVolume(values)])
    assert (result.error, result.findings, result.region.any()) == (None, (), False)
    assert len(seen) == 5


def test_proposals_without_breast_are_left_out(tmp_path, bundle):
    values = volume_bundle.phases(seed=1)
    seen = []

    def count(folder):
        method, engines = screener(folder)
        run, rows = engines["head"].run, []
        engines["head"].run = lambda tensors: (
            rows.append((tensors["rois"] != 0).any(axis=(1, 2, 3)).sum()) or run(tensors)
        )
        (result,) = method.screen([ArrayVolume(values)])
        seen.append(sum(rows))
        return result

    # All of it is breast to the second one, and as many proposals as there may be are looked at.
    every = volume_bundle.write_bundle(tmp_path / "b", region_threshold=0.0)
    assert count(bundle).findings
    assert count(every).region.all()
    assert 0 < seen[0] < seen[1] == 6 * 20


def test_what_holds_any_of_a_mask_against_looking():
    rng = np.random.default_rng(3)
    mask = np.zeros((30, 40), bool)
    mask[rng.integers(0, 30, 12), rng.integers(0, 40, 12)] = True
    corners = np.sort(rng.uniform(0, 1, (500, 2, 2)), axis=1) * [40, 30]
    boxes = corners.reshape(-1, 4).astype(np.float32)
    boxes[:4] = [[0, 0, 40, 30], [39.5, 29.5, 40, 30], [0, 0, 0.5, 0.5], [3, 3, 4, 4]]
    expected = [
        mask[int(np.floor(y0)) : int(np.ceil(y1)), int(np.floor(x0)) : int(np.ceil(x1))].any()
        for x0, y0, x1, y1 in boxes
    ]
    assert volume.hold_any(mask, boxes).tolist() == expected
    assert volume.hold_any(mask, boxes[:0]).shape == (0,)


class TestInputs:
    def rows(self, values, region=None, **options):
        options = {"shape": values.shape[2:], "channels": [{"phase": 1}], **options}
        return Input(**options).rows(ArrayVolume(values), region)

    def test_channels(self):
        values = volume_bundle.phases(count=3).astype(np.float32)
        channels = [{"phase": 1, "minus": 0}, {"phase": -1, "minus": 1}, {"phase": 0}]
        found = self.rows(values, channels=channels, contrast="minmax", over="volume")
        for number, expected in enumerate((values[1] - values[0], values[2] - values[1], values[0])):
            unit = (expected - expected.min()) / np.ptp(expected)
            np.testing.assert_allclose(found[:, number], unit, atol=1e-6)

    @pytest.mark.parametrize("over", ["slice", "volume"])
    @pytest.mark.parametrize("masked", [False, True])
    def test_statistics_are_of_the_slice_or_the_volume_and_of_the_region(self, over, masked):
        values = volume_bundle.phases().astype(np.float64)
        region = np.zeros(values.shape[1:], bool)
        region[1:4, 20:40, 20:60] = True
        expected = np.zeros(values.shape[1:])
        for part in [slice(None)] if over == "volume" else [slice(i, i + 1) for i in range(len(region))]:
            own = values[1][part]
            inside = own[region[part]] if masked else own
            if inside.size:
                expected[part] = (own - inside.mean()) / inside.std()
        expected = expected * region if masked else expected
        found = self.rows(values, region if masked else None, over=over)[:, 0]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert not masked or not found[~region].any()

    def test_percentiles_are_cut_and_a_phase_may_be_the_measure(self):
        values = volume_bundle.phases().astype(np.float32)
        found = self.rows(values, contrast={"low_percentile": 10, "high_percentile": 90}, over="volume")[:, 0]
        low, high = np.percentile(values[1], [10, 90], method="inverted_cdf")
        np.testing.assert_allclose(found, np.clip((values[1] - low) / (high - low), 0, 1), atol=1e-6)
        options = {"contrast": {"percentile": 95, "phase": 0}, "channels": [{"phase": 1, "minus": 0}]}
        found = self.rows(values, over="volume", **options)[:, 0]
        unit = np.percentile(values[0], 95, method="inverted_cdf")
        np.testing.assert_allclose(found, (values[1] - values[0]) / unit, atol=1e-5)

    @pytest.mark.parametrize("contrast", ["zscore", "minmax", {"low_percentile": 1, "high_percentile": 99}])
    def test_what_has_one_value_becomes_nothing(self, contrast):
        found = self.rows(np.full((2, 3, 8, 8), 7.0), contrast=contrast)
        assert not found.any()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"shape": (0, 4)}, {"channels": []}, {"channels": [{"phase": 1.5}]}, {"channels": [{"phase": True}]},
            {"contrast": "other"}, {"contrast": {"low_percentile": 9, "high_percentile": 1}}, {"over": "study"},
            {"contrast": {"percentile": 101, "phase": 0}},
        ],
    )  # fmt: skip
    def test_wrong_settings_are_refused(self, wrong):
        with pytest.raises((ValueError, TypeError)):
            Input(**{"shape": (8, 8), "channels": [{"phase": 0}], **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"region_threshold": 2}, {"proposals": 0}, {"box_std": [1, 2]}, {"anchors": {"scales": []}},
        {"linking": {"min_iou": 0}}, {"detection": {"shape": [96, 128]}}, {"unknown": 1}, {"score_threshold": True},
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_is_refused(tmp_path, wrong):
    folder = volume_bundle.write_bundle(tmp_path / "b", **wrong)
    with pytest.raises(BundleError):
        mammofast.open_bundle(folder)


@pytest.mark.parametrize("name", ["region", "trunk", "head"])
def test_networks_of_another_shape_are_refused_when_opened(tmp_path, name):
    other = {"region": "trunk", "trunk": "head", "head": "region"}[name]
    folder = volume_bundle.write_bundle(tmp_path / "b", {name: getattr(volume_bundle, other)()})
    with pytest.raises(BundleError, match=name):
        mammofast.open_bundle(folder)


def test_images_and_volumes_are_not_mistaken_for_one_another(bundle):
    with mammofast.open_bundle(bundle) as opened:
        for call in (opened.screen, lambda image: opened.screen_batch([image])):
            with pytest.raises(ValueError, match="reads volumes"):
                call(np.zeros((4, 4)))
        with pytest.raises(ValueError, match="phases"):
            opened.screen_volume(np.zeros((3, 4, 4)))
    with mammofast.open_bundle("demo") as opened, pytest.raises(ValueError, match="reads images"):
        opened.screen_volume(volume_bundle.phases())


def test_compile_makes_a_bundle_that_screens(tmp_path):
    torch = pytest.importorskip("torch")
    from click.testing import CliRunner

    from mammofast.cli import main

    assert torch
    words = ["compile", "volume", "--to", "onnxruntime", "--out", str(tmp_path / "b"), "--random", "--width", "0.0625"]
    words += ["--option", "detector.depth=50", "--size", "region=32x32", "--size", "detector=64x64", "--quiet"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert (manifest["method"], manifest["accepts"], list(manifest["networks"])) == (
        "volume", {}, ["region", "trunk", "head"],
    )  # fmt: skip
    assert "Random weights" in manifest["notice"]
    with mammofast.open_bundle(tmp_path / "b") as opened:
        values = volume_bundle.phases(slices=3)
        assert opened.screen_volume(values) == opened.screen_volume(values)
    result = CliRunner().invoke(main, [*words, "--network", "detector=yolov3"])
    assert result.exit_code == 2
