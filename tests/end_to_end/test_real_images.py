"""Real mammograms, where somebody has some: in every lossless syntax and both photometrics they must give the same.

Set MAMMOFAST_REAL_IMAGES to a folder of 16-bit grey PNGs that hold 12-bit mammograms, air being 0. None are shipped.
"""

import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

import mammofast
from mammofast.archive import ingest

FOLDER = os.environ.get("MAMMOFAST_REAL_IMAGES")
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="NOT TESTED on real mammograms: set MAMMOFAST_REAL_IMAGES to a folder of 12-bit PNGs"
)
WHITE = 4095


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_real_mammograms_are_ingested_and_screened_alike_in_every_syntax(dicom, tmp_path, photometric):
    files = sorted(Path(FOLDER).glob("*.png"))
    assert files, "MAMMOFAST_REAL_IMAGES holds no PNG"
    expected = {}
    for number, file in enumerate(files):
        pixels = imagecodecs.png_decode(file.read_bytes())
        assert pixels.dtype == np.uint16
        stored = pixels if photometric == "MONOCHROME2" else (WHITE - pixels).astype(np.uint16)
        for name, syntax in dicom.lossless.items():
            dataset = dicom.write(
                tmp_path / "in" / f"{number}-{name}.dcm",
                stored,
                syntax=syntax,
                PhotometricInterpretation=photometric,
                BitsStored=12,
                HighBit=11,
            )
            expected[dataset.SOPInstanceUID] = (number, stored)
    report = ingest([tmp_path / "in"], tmp_path / "a.zarr")
    assert (report.added, report.skipped, report.failed) == (len(expected), 0, 0)
    seen = {}
    with mammofast.open_bundle("demo") as screener:
        for image in mammofast.open_archive(tmp_path / "a.zarr").images():
            number, stored = expected[image.record.sop_uid]
            np.testing.assert_array_equal(image.read(), stored)
            result = screener.screen(image)
            assert result == seen.setdefault(number, result)
    assert len(seen) == len(files)
