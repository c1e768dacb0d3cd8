import hashlib
import json

import pytest

from mammofast.bundles import load_bundle
from mammofast.errors import BundleError

CONTENT = b"a network"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.onnx").write_bytes(CONTENT)
    write(tmp_path, {})
    return tmp_path


def write(folder, changes, network=None):
    manifest = {
        "format": 1,
        "name": "n",
        "method": "two_stage",
        "parameters": {},
        "networks": {
            "detector": {
                "file": "net.onnx",
                "sha256": hashlib.sha256(CONTENT).hexdigest(),
                "backend": "onnxruntime",
                "precision": "fp32",
                "target": "cpu",
                **(network or {}),
            }
        },
    } | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_id_is_the_manifests_hash_and_networks_come_back_whole(folder):
    bundle = load_bundle(folder)
    assert bundle.id == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert bundle.read("detector") == CONTENT
    assert load_bundle(str(folder)) == bundle


def test_operating_points_are_read_as_they_stand(folder):
    assert load_bundle(folder).operating_points == ()
    write(folder, {"operating_points": [1.2, 0.7, 0.25]})
    assert load_bundle(folder).operating_points == (1.2, 0.7, 0.25)


def test_a_changed_network_is_refused_with_both_hashes(folder):
    (folder / "net.onnx").write_bytes(CONTENT + b"!")
    with pytest.raises(BundleError) as caught:
        load_bundle(folder).read("detector")
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)
    assert hashlib.sha256(CONTENT + b"!").hexdigest() in str(caught.value)


def test_a_missing_network_is_named(folder):
    (folder / "net.onnx").unlink()
    with pytest.raises(BundleError, match=r"net\.onnx cannot be read"):
        load_bundle(folder).read("detector")
    with pytest.raises(BundleError, match="has no network 'segmenter'"):
        load_bundle(folder).read("segmenter")


@pytest.mark.parametrize("file", ["../net.onnx", "/etc/passwd", "a/b.onnx", "", ".", "..", "manifest.json"])
def test_networks_outside_the_bundle_are_refused(folder, file):
    write(folder, {}, network={"file": file})
    with pytest.raises(BundleError, match="plain name"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "expected format 1"),
        ({"networks": {}}, "at least one network"),
        ({"networks": {"detector": 3}}, "got a int"),
        ({"networks": {"detector": {"file": "net.onnx"}}}, "missing entries"),
        ({"surprise": 1}, "unknown entries ['surprise']"),
        ({"method": 5}, "'method' is a int"),
        ({"accepts": {"view": "CC"}}, "list of allowed values"),
        ({"operating_points": 0.5}, "a list of confidences above 0"),
        ({"operating_points": [0.5, 0]}, "a list of confidences above 0"),
        ({"operating_points": [0.5, float("nan")]}, "a list of confidences above 0"),
        ({"operating_points": [True]}, "a list of confidences above 0"),
        ({"operating_points": [0.5, 0.7]}, "each to be lower than the one before"),
        ({"operating_points": [0.5, 0.5]}, "each to be lower than the one before"),
    ],
)
def test_what_is_not_a_manifest_of_this_version_is_refused(folder, changes, words):
    write(folder, changes)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"[" * 100_000, b"\xff\xfe", b"\x80\x04K\x01."])
def test_damaged_manifests_and_pickles_are_refused(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError):
        load_bundle(folder)


def test_no_bundle_there_says_what_was_expected(tmp_path):
    with pytest.raises(BundleError, match="expected a bundle's folder"):
        load_bundle(tmp_path / "nowhere")
