import numpy as np
import pytest

from mammofast.archive import layout
from mammofast.errors import ProfilingError
from mammofast.phantom.encode import SYNTAXES
from mammofast.profiling import archive
from mammofast.profiling.archive import archive_cases
from mammofast.profiling.sampling import Effort

BRIEF = Effort(warm_up=0, seconds=1e-4, at_least=1)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 4096, (700, 650)).astype(np.uint16)


@pytest.fixture(scope="module")
def cases(pixels):
    return {case.name: case for case in archive_cases(BRIEF, pixels)}


def test_each_syntax_and_each_way_of_keeping_is_a_case(cases):
    names = [f"decode, {syntax.uid.name}" for syntax in SYNTAXES]
    assert list(cases) == [*names, "write an image", "read an image", "read a window of 600 × 600"]


def test_peers_are_beside_us(cases):
    assert any(
        name.startswith("pydicom (") for name in cases["decode, JPEG 2000 Image Compression (Lossless Only)"].samples
    )
    assert {"raw file, mapped", "zarr-python, the same files"} < set(cases["read an image"].samples)
    layouts = [name for name in cases["read an image"].samples if name.startswith("chunks of ")]
    assert len(layouts) == len(archive._LAYOUTS)
    assert set(layouts) < set(cases["write an image"].samples)


def test_facts_hold_bytes_a_pixel(cases):
    sizes = cases["read an image"].facts["bytes_per_pixel"]
    assert sizes["raw"] == 2
    assert 1 < sizes["mammofast"] < 2  # 12 bits of noise in 16
    assert (
        sizes["chunks of 512, zstd 1, bitshuffle"] != sizes["chunks of 512, lz4 5, bitshuffle"] or layout.CHUNK != 512
    )


def test_a_decoder_that_gives_other_pixels_is_refused(pixels, monkeypatch):
    good = archive.decode_frame
    monkeypatch.setattr(archive, "decode_frame", lambda *arguments: good(*arguments) + 1)
    with pytest.raises(ProfilingError, match=r"pydicom .* gives another result than mammofast"):
        list(archive_cases(BRIEF, pixels))


def test_a_layout_that_keeps_other_pixels_is_refused(pixels, monkeypatch, tmp_path):
    good = archive._write_as
    monkeypatch.setattr(archive, "_write_as", lambda folder, each, metadata: good(folder, each + 1, metadata))
    monkeypatch.setattr(archive, "SYNTAXES", ())
    with pytest.raises(ProfilingError, match=r"write an image: chunks of .* gives another result"):
        list(archive_cases(BRIEF, pixels))
