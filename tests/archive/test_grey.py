"""Against pydicom's own functions, and the formulas of PS3.3 C.11 written out once more."""

import io
import math

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from mammofast.archive.grey import grey_table, voi_used
from mammofast.archive.reading import header_bytes
from mammofast.errors import BrokenImage, Reason
from mammofast.records import GreyPipeline

ALL = GreyPipeline()
MODALITY_ONLY = GreyPipeline(modality=True, voi=False, invert=False)


def header(bits=12, signed=False, photometric="MONOCHROME2", **attributes):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.BitsAllocated, ds.BitsStored, ds.PixelRepresentation = 16, bits, int(signed)
    ds.PhotometricInterpretation = photometric
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def stored(bits, signed):
    first = -(1 << (bits - 1)) if signed else 0
    return np.arange(first, first + (1 << bits)).astype(np.int16 if signed else np.uint16)


def lut(entries, first, bits, data=None, vr="US", as_bytes=True):
    item = Dataset()
    data = np.linspace(0, (1 << bits) - 1, entries).astype(np.uint16) if data is None else np.asarray(data, np.uint16)
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [entries % 65536, first, bits])
    item.add_new("LUTData", "OW", data.tobytes()) if as_bytes else item.add_new("LUTData", "US", data.tolist())
    return item


def by_hand(x, function, c, w):
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2, one value at a time, y from 0 to 1."""
    if function == "LINEAR":
        if x <= c - 0.5 - (w - 1) / 2:
            return 0.0
        if x > c - 0.5 + (w - 1) / 2:
            return 1.0
        return (x - (c - 0.5)) / (w - 1) + 0.5
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return 0.0
        if x > c + w / 2:
            return 1.0
        return (x - c) / w + 0.5
    return 1 / (1 + math.exp(-4 * (x - c) / w))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("slope, intercept", [(None, None), (1, 0), (2.5, -1024), (-1, 4095), (0.001, 7)])
def test_modality(signed, slope, intercept):
    ds = header(signed=signed)
    if slope is not None:
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    values = stored(12, signed)
    table = grey_table(ds, MODALITY_ONLY)
    np.testing.assert_array_equal(table.apply(values), apply_modality_lut(values, ds).astype(np.float32))
    raw = grey_table(ds, GreyPipeline(modality=False, voi=False, invert=False))
    np.testing.assert_array_equal(raw.apply(values), values)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize("centre, width", [(2048, 4096), (300, 401), (1000.5, 1.5), (0, 2), (40, 1), (-50, 100)])
def test_windows(signed, function, centre, width):
    ds = header(signed=signed, WindowCenter=centre, WindowWidth=width, RescaleSlope=2, RescaleIntercept=-100)
    if function:
        ds.VOILUTFunction = function
    values = stored(12, signed)
    got = grey_table(ds, ALL).apply(values)
    assert got.dtype == np.float32
    modality = values.astype(float) * 2 - 100
    far = abs(modality - centre) / width > 100  # where exp overflows
    expected = [float(x > centre) if off else by_hand(x, function or "LINEAR", centre, width)
                for x, off in zip(modality, far, strict=True)]  # fmt: skip
    np.testing.assert_allclose(got, expected, atol=1e-7)
    # pydicom maps to the bits stored, through the range that the rescaling makes of them.
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    got = grey_table(ds, ALL).apply(values)
    with np.errstate(over="ignore"):
        theirs = apply_voi_lut(values, ds)
    low, high = int(values.min()), int(values.max())
    np.testing.assert_allclose(got * (high - low) + low, theirs, atol=5e-4)


def test_the_first_of_several_windows():
    ds = header(WindowCenter=[1000, 9], WindowWidth=[200, 7])
    one = header(WindowCenter=1000, WindowWidth=200)
    np.testing.assert_array_equal(grey_table(ds, ALL).values, grey_table(one, ALL).values)


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize(
    "bits, signed, entries, first, out",
    [(12, False, 4096, 0, 16), (12, False, 500, 1000, 12), (12, True, 700, -300, 10), (16, False, 65536, 0, 16),
     (12, False, 1, 5, 8)],
)  # fmt: skip
def test_voi_lut(bits, signed, entries, first, out, as_bytes):
    rng = np.random.default_rng(entries)
    data = rng.integers(0, 1 << out, entries)
    data[0] = (1 << out) - 1
    ds = header(bits, signed, VOILUTSequence=Sequence([lut(entries, first, out, data, as_bytes=as_bytes)]))
    ds.WindowCenter, ds.WindowWidth = 5, 6  # the LUT goes before the window
    values = stored(bits, signed)
    got = grey_table(ds, ALL).apply(values)
    index = np.clip(values.astype(int) - first, 0, entries - 1)
    np.testing.assert_allclose(got, data[index] / ((1 << out) - 1), rtol=1e-6)
    if entries > 1:
        theirs = apply_voi_lut(values, ds).astype(int) & ((1 << out) - 1)
        np.testing.assert_array_equal(np.rint(got * ((1 << out) - 1)).astype(int), theirs)


@pytest.mark.parametrize("vr, descriptor", [("US", [700, 65536 - 300, 12]), ("SS", [700, -300, 12])])
def test_the_sign_of_a_lut_s_first_value(vr, descriptor):
    item = lut(700, 0, 12)
    item.add_new("LUTDescriptor", vr, descriptor)
    got = grey_table(header(signed=True, VOILUTSequence=Sequence([item])), ALL).apply(stored(12, True))
    index = np.clip(np.arange(-2048, 2048) + 300, 0, 699)
    np.testing.assert_allclose(got, np.linspace(0, 4095, 700).astype(np.uint16)[index] / 4095, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_long_lut_whose_length_is_read_as_signed():
    item = lut(40_000, 0, 16)
    item.add_new("LUTDescriptor", "SS", [40_000 - 65536, -20_000, 16])
    got = grey_table(header(16, True, VOILUTSequence=Sequence([item])), ALL).apply(stored(16, True))
    index = np.clip(np.arange(-32768, 32768) + 20_000, 0, 39_999)
    np.testing.assert_allclose(got, np.linspace(0, 65535, 40_000).astype(np.uint16)[index] / 65535, rtol=1e-6)


def test_voi_lut_of_bytes_two_to_a_word():
    data = np.arange(256).astype(np.uint8)[::-1]
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 100, 8])
    item.add_new("LUTData", "OW", data.tobytes())
    got = grey_table(header(VOILUTSequence=Sequence([item])), ALL).apply(stored(12, False))
    np.testing.assert_allclose(got, data[np.clip(np.arange(4096) - 100, 0, 255)] / 255, rtol=1e-6)


@pytest.mark.parametrize("name", ["explicit", "implicit", "big endian"])
@pytest.mark.parametrize("bits", [8, 12])
def test_luts_from_files_of_either_byte_order(dicom, name, bits):
    order = ">" if name == "big endian" else "<"
    data = np.arange(256)[::-1]
    packed = data.astype(np.uint8).view("<u2") if bits == 8 else data.astype("u2")
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 40, bits])
    item.add_new("LUTData", "OW", packed.astype(f"{order}u2").tobytes())
    ds = dicom.dataset(syntax=dicom.lossless[name])
    ds.VOILUTSequence = Sequence([item])
    read = dcmread(io.BytesIO(dicom.bytes(ds)))
    got = grey_table(dcmread(io.BytesIO(header_bytes(read))), ALL).apply(stored(12, False))
    expected = data[np.clip(np.arange(4096) - 40, 0, 255)] / ((1 << bits) - 1)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_modality_lut():
    data = np.arange(4096)[::-1] * 3
    ds = header(ModalityLUTSequence=Sequence([lut(4096, 0, 16, data)]), RescaleSlope=9, RescaleIntercept=9)
    ds.ModalityLUTSequence[0].ModalityLUTType = "OD"
    values = stored(12, False)
    got = grey_table(ds, MODALITY_ONLY).apply(values)
    np.testing.assert_array_equal(got, data)
    np.testing.assert_array_equal(got, apply_modality_lut(values, ds))


@pytest.mark.parametrize("photometric, shape, inverted", [
    ("MONOCHROME2", None, False), ("MONOCHROME2", "IDENTITY", False), ("MONOCHROME2", "INVERSE", True),
    ("MONOCHROME1", None, True), ("MONOCHROME1", "IDENTITY", True), ("MONOCHROME1", "INVERSE", True),
])  # fmt: skip
def test_inversion_comes_last_and_once(photometric, shape, inverted):
    window = {"WindowCenter": 1000, "WindowWidth": 301}
    ds = header(photometric=photometric, **window)
    if shape:
        ds.PresentationLUTShape = shape
    straight = grey_table(header(**window), ALL).values.astype(float)
    got = grey_table(ds, ALL).values
    np.testing.assert_allclose(got, 1 - straight if inverted else straight, atol=1e-7)
    assert got.min() == 0
    assert got.max() == 1
    kept = grey_table(ds, GreyPipeline(invert=False)).values
    np.testing.assert_array_equal(kept, grey_table(header(**window), ALL).values)


def test_without_voi_units_are_kept_and_inverted_onto_themselves():
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -10}
    np.testing.assert_array_equal(grey_table(header(**rescale), ALL).values, np.arange(4096) * 2 - 10)
    inverted = grey_table(header(photometric="MONOCHROME1", **rescale), ALL).values
    np.testing.assert_array_equal(inverted, (np.arange(4096) * 2 - 10)[::-1])
    np.testing.assert_array_equal(grey_table(header(photometric="MONOCHROME1"), ALL).values, np.arange(4096)[::-1])


def test_the_tables_ends_hold_for_values_beyond_them():
    table = grey_table(header(12, True), ALL)
    assert table.first == -2048
    np.testing.assert_array_equal(
        table.apply(np.array([-32768, -2048, 2047, 32767], np.int16)), [-2048, -2048, 2047, 2047]
    )
    assert table.values.flags.c_contiguous


@pytest.mark.parametrize("attributes", [
    {"WindowCenter": 5, "WindowWidth": 0.5}, {"WindowCenter": 5, "WindowWidth": 0},
    {"WindowCenter": 5, "WindowWidth": -3}, {"WindowCenter": 5, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"},
    {"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "LOG"}, {"RescaleSlope": 0, "RescaleIntercept": 5},
    {"VOILUTSequence": Sequence([lut(100, 0, 12, [1] * 50)])},
    {"VOILUTSequence": Sequence([lut(4, 0, 8, [1, 2, 3, 256])])},
    {"VOILUTSequence": Sequence([lut(4, 0, 20, [1, 2, 3, 4])])},
    {"VOILUTSequence": Sequence([Dataset()])},
])  # fmt: skip
def test_impossible_descriptions_are_refused(attributes):
    with pytest.raises(BrokenImage) as caught:
        grey_table(header(**attributes), ALL)
    assert caught.value.reason == Reason.BAD_HEADER


def test_a_window_below_one_is_sound_for_the_other_functions():
    for function in ("LINEAR_EXACT", "SIGMOID"):
        ds = header(WindowCenter=0.5, WindowWidth=0.1, VOILUTFunction=function, RescaleSlope=0.001, RescaleIntercept=0)
        got = grey_table(ds, ALL).values
        np.testing.assert_allclose(got, [by_hand(x * 0.001, function, 0.5, 0.1) for x in range(4096)], atol=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_random_pipelines_against_pydicom(seed):
    """Modality LUT or rescaling, then a VOI LUT or a window of any function, on random values."""
    rng = np.random.default_rng(seed)
    bits, signed = int(rng.integers(8, 17)), bool(rng.integers(2))
    ds = header(bits, signed)
    lowest = -(1 << (bits - 1)) if signed else 0
    values = rng.integers(lowest, lowest + (1 << bits), 500).astype(np.int16 if signed else np.uint16)
    if rng.random() < 0.3 and not signed:
        data = rng.integers(0, 4096, 1 << bits)
        ds.ModalityLUTSequence = Sequence([lut(1 << bits, 0, 16, data)])
        modality = apply_modality_lut(values, ds).astype(float)
    else:
        ds.RescaleSlope, ds.RescaleIntercept = float(rng.choice([1, 1, 0.5, 2])), float(rng.integers(-500, 500))
        modality = apply_modality_lut(values, ds).astype(float)
    kind = rng.choice(["LINEAR", "LINEAR_EXACT", "SIGMOID", "LUT"])
    if kind == "LUT":
        entries, first, out = int(rng.integers(2, 3000)), int(rng.integers(-400, 400)), int(rng.integers(8, 17))
        data = rng.integers(0, 1 << out, entries)
        ds.VOILUTSequence = Sequence([lut(entries, first, out, data)])
        index = np.clip(np.floor(modality + 0.5) - first, 0, entries - 1).astype(int)
        expected = data[index] / ((1 << out) - 1)
    else:
        ds.VOILUTFunction = str(kind)
        ds.WindowCenter, ds.WindowWidth = float(rng.integers(-500, 5000)), float(rng.integers(20, 5000))
        expected = np.array([by_hand(x, kind, float(ds.WindowCenter), float(ds.WindowWidth)) for x in modality])
        # pydicom's own, from the rescaled range that it assumes back to 0 to 1.
        if "RescaleSlope" in ds:
            low, high = (apply_modality_lut(np.array([end]), ds)[0] for end in (lowest, lowest + (1 << bits) - 1))
            theirs = apply_voi_lut(modality, ds)
            np.testing.assert_allclose(theirs, expected * (high - low) + low, atol=(high - low) / 500)
    got = grey_table(ds, ALL).apply(values)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_which_voi_is_used_is_said():
    item = lut(4, 0, 8, [1, 2, 3, 4])
    assert voi_used(header()) is None
    assert voi_used(header(WindowCenter=5)) is None
    assert voi_used(header(WindowCenter=5, WindowWidth=6)) == "window 1 of 1, LINEAR"
    several = {"WindowCenter": [5, 6, 7], "WindowWidth": [1, 2, 3], "VOILUTFunction": "SIGMOID"}
    assert voi_used(header(**several)) == "window 1 of 3, SIGMOID"
    assert voi_used(header(VOILUTSequence=Sequence([item, item]), **several)) == "LUT 1 of 2"
    assert (
        voi_used(header(WindowCenter=5, WindowWidth=6, VOILUTFunction="SECRET")) == "window 1 of 1, an unknown function"
    )
