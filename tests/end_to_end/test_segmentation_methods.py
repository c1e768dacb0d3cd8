"""The whole-image and the tiled method as a user runs them, with a network whose answer NumPy can give, too.

The network thresholds brightness smoothed over 5 × 5 pixels; pydicom, OpenCV, SciPy and scikit-image redo what it
should find at native resolution.
"""

import json

import cv2
import numpy as np
import onnx
import pydicom
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from scipy.ndimage import uniform_filter
from skimage.measure import label, regionprops

import mammofast
from mammofast.cli import main
from tests.methods.bundle_folder import write_folder
from tests.methods.by_hand import level_of

GAIN, BRIGHT = 40.0, 0.65
WHOLE, TILE, PIXEL_MM = (512, 384), (256, 200), 0.4


def network(shape, channels):
    """Return "pixels" (n, channels, shape) to "logits" (n, 2, shape)."""
    weight = np.zeros((2, channels, 5, 5), np.float32)
    weight[1, 0] = GAIN / 25
    constants = {"weight": weight, "bias": np.array([0, -GAIN * BRIGHT], np.float32)}
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, *shape])
        for name, count in (("pixels", channels), ("logits", 2))
    ]
    node = helper.make_node("Conv", ["pixels", "weight", "bias"], ["logits"], pads=[2] * 4)
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "net", tensors[:1], tensors[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_bundle(folder, method, size, channels, **parameters):
    model = network(size, channels)
    onnx.checker.check_model(model)
    says = {
        "inputs": {"image": "pixels"},
        "outputs": {"mask": {"tensor": "logits", "activation": "softmax", "channel": 1}},
    }
    parameters = {"grey": {}, "scaling": {"contrast": "minmax", "channels": channels}, **parameters}
    networks = {"segmenter": (model.SerializeToString(), says)}
    return write_folder(
        folder, networks, name=method, method=method, notice=f"{method} on phantoms", parameters=parameters
    )


@pytest.fixture(scope="module", params=["whole_image", "tiled"])
def run(request, demo, tmp_path_factory):
    """Screen the demo's archive; return the method, its bundle and the results."""
    out, method = tmp_path_factory.mktemp(request.param), request.param
    if method == "whole_image":
        bundle = write_bundle(out / "bundle", method, WHOLE, 3, shape=list(WHOLE), background=0.02)
    else:
        geometry = {"pixel_size_mm": PIXEL_MM, "tile": list(TILE), "stride": 1, "halo": 2}
        bundle = write_bundle(out / "bundle", method, TILE, 1, **geometry)
    command = ["screen", str(demo.archive), str(out / "results"), "--bundle", str(bundle), "--workers", "1", "--quiet"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    return method, bundle, out / "results"


def shown(dataset, stored):
    """Return presentation values by pydicom, brighter denser."""
    values = apply_voi_lut(apply_modality_lut(stored.astype(dataset.pixel_array.dtype), dataset), dataset, index=0)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = -values.astype(np.float64)
    return values.astype(np.float64)


def expected(dataset, method):
    image = dataset.pixel_array
    spacing = [float(v) for v in dataset.ImagerPixelSpacing]
    if method == "whole_image":
        level = max(k for k in range(9) if all(-(-n // 2**k) >= s for n, s in zip(image.shape, WHOLE, strict=True)))
        values = shown(dataset, level_of(image, level))
        bright = values > values.min() + 0.02 * (values.max() - values.min())
        ys, xs = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
        y0, y1, x0, x1, target = ys[0], ys[-1] + 1, xs[0], xs[-1] + 1, WHOLE
        while level and (y1 - y0 < WHOLE[0] or x1 - x0 < WHOLE[1]):  # a finer level, so as not to stretch it up
            level -= 1
            values = shown(dataset, level_of(image, level))
            y0, y1, x0, x1 = 2 * y0, min(2 * y1, values.shape[0]), 2 * x0, min(2 * x1, values.shape[1])
    else:
        level = max(k for k in range(9) if max(spacing) * 2**k <= PIXEL_MM + 1e-9)
        values = shown(dataset, level_of(image, level))
        y0, y1, x0, x1 = 0, values.shape[0], 0, values.shape[1]
        target = tuple(round(n * 2**level * mm / PIXEL_MM) for n, mm in zip(values.shape, spacing, strict=True))
    crop, side = values[y0:y1, x0:x1], 2**level
    grey = ((crop - crop.min()) / (crop.max() - crop.min())).astype(np.float32)
    ways = [cv2.INTER_AREA if t < s else cv2.INTER_LINEAR for s, t in zip(grey.shape, target, strict=True)]
    grey = cv2.resize(grey, (grey.shape[1], target[0]), interpolation=ways[0])
    grey = cv2.resize(grey, target[::-1], interpolation=ways[1])
    logit = GAIN * (uniform_filter(grey.astype(np.float64), 5, mode="constant") - BRIGHT)
    probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
    native = np.zeros(np.multiply(values.shape, side), np.float32)
    native[y0 * side : y1 * side, x0 * side : x1 * side] = cv2.resize(
        probability, (int((x1 - x0) * side), int((y1 - y0) * side)), interpolation=cv2.INTER_LINEAR
    )
    return native[: image.shape[0], : image.shape[1]] >= 0.5


def test_masks_are_those_that_other_libraries_give_at_native_resolution(demo, run):
    method, _, folder = run
    results = mammofast.open_results(folder)
    assert {row["status"] for row in results.images().to_pylist()} == {"done"}
    found = 0
    for path in sorted((demo.out / "dicom").rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        mask, truth = results.mask(dataset.SOPInstanceUID), expected(dataset, method)
        assert mask.shape == truth.shape
        assert np.count_nonzero(mask != truth) <= max(1e-3 * np.count_nonzero(truth), 20)
        found += np.count_nonzero(mask)
    assert found > 10_000


def test_findings_are_the_components_of_the_masks(run):
    results = mammofast.open_results(run[2])
    rows = results.findings().to_pylist()
    assert rows
    for entry in results.entries():
        mine = [row for row in rows if row["sop_uid"] == entry.image.sop_uid]
        regions = regionprops(label(results.mask(entry.image.sop_uid), connectivity=2))
        boxes = [(r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2], int(r.area)) for r in regions]
        assert sorted((r["x_min"], r["y_min"], r["x_max"], r["y_max"], r["area_px"]) for r in mine) == sorted(boxes)
        assert entry.detections == b""
        for row in mine:
            assert row["score"] == row["confidence"]
            assert 0.4 < row["confidence"] <= 1


def test_embedding_gives_the_ledgers_findings_to_the_bit(demo, run):
    _, bundle, folder = run
    results = mammofast.open_results(folder)
    entries = {entry.image.sop_uid: entry for entry in results.entries()}
    with mammofast.open_bundle(bundle) as screener:
        for image in mammofast.open_archive(demo.archive).images():
            result = screener.screen(image)
            stored = [finding.finding() for finding in entries[image.record.sop_uid].findings]
            assert list(result.findings) == stored
            assert np.array_equal(result.mask, results.mask(image.record.sop_uid))


def test_running_again_adds_nothing_and_the_page_shows_it(demo, run, tmp_path):
    method, bundle, folder = run
    command = ["screen", str(demo.archive), str(folder), "--bundle", str(bundle), "--workers", "1", "--json", "--quiet"]
    report = json.loads(CliRunner().invoke(main, command).output)
    assert report["already"] == report["done"] == 8
    done = CliRunner().invoke(main, ["report", str(folder), "--to", "html", "--out", str(tmp_path / "page"), "--quiet"])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page" / "index.html").read_text()
    assert f"{method} on phantoms" in page
    for row in mammofast.open_results(folder).images().to_pylist():
        assert row["sop_uid"] in page
