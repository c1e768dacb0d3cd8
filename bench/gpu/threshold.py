"""Give a bundle of random weights the threshold at which it finds about as much as a trained one has to look at.

python -m bench.gpu.threshold BUNDLE ARCHIVE --detections 5
"""

import argparse
import json
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from mammofast import open_archive, open_bundle
from mammofast.bundles.manifest import MANIFEST

_IMAGES = 4


def main(arguments: list[str] | None = None) -> int:
    """Screen a few images; write into the manifest the confidence that so many detections an image pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--detections", type=int, default=5, help="an image, at all scales together")
    options = parser.parse_args(arguments)
    images = list(islice(open_archive(options.archive).images(), _IMAGES))
    with open_bundle(options.bundle) as screener:
        results = screener.screen_batch(images)
    confidences = np.sort(np.concatenate([result.detections[:, 5] for result in results]))[::-1]
    path = options.bundle / MANIFEST
    manifest = json.loads(path.read_text())
    # Of fewer, all pass: what is above a higher threshold is the same, suppression begins with the highest.
    if len(confidences) > options.detections * len(images):
        manifest["parameters"]["confidence_threshold"] = float(confidences[options.detections * len(images)])
        path.write_text(json.dumps(manifest))
    print(f"{len(confidences)} detections, threshold {manifest['parameters']['confidence_threshold']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
