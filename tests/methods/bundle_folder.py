"""A bundle's folder of any method: networks, and the manifest that hashes them."""

import hashlib
import json


def write_folder(folder, networks, **manifest):
    """Write ONNX networks, given by name, beside a manifest.

    A network may be a pair, then of what its entry says beyond the usual.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for name, network in networks.items():
        content, more = network if isinstance(network, tuple) else (network, {})
        (folder / f"{name}.onnx").write_bytes(content)
        entries[name] = {
            "file": f"{name}.onnx",
            "sha256": hashlib.sha256(content).hexdigest(),
            "backend": "onnxruntime",
            "precision": "fp32",
            "target": "cpu",
            **more,
        }
    (folder / "manifest.json").write_text(json.dumps({"format": 1, **manifest, "networks": entries}))
    return folder
