import io
import warnings

import gdcm
import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread

from mammofast.archive.codecs import DECODERS, FrameFormat, decode_frame
from mammofast.archive.mammogram import triage
from mammofast.archive.reading import read_dicom, read_pixels
from mammofast.errors import BrokenImage, Reason

# bits stored, signed, in a container of 8 or 16 bits
LAYOUTS = [(8, False), (8, True), (10, False), (12, False), (12, True), (14, False), (16, False), (16, True)]


def ours(data):
    ds = read_dicom(io.BytesIO(data))
    return read_pixels(ds, triage(ds).frame)


def pydicoms(data, plugin=""):
    """What pydicom decodes; its own warnings about odd objects are not this test's subject."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(io.BytesIO(data))
        ds.pixel_array_options(decoding_plugin=plugin)
        return ds.pixel_array


@pytest.mark.parametrize("bits, signed", LAYOUTS, ids=lambda value: str(value))
@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian", "deflated", "RLE", "JPEG lossless",
                                  "JPEG lossless SV1", "JPEG-LS", "JPEG 2000 lossless", "HTJ2K lossless",
                                  "HTJ2K RPCL lossless"])  # fmt: skip
def test_lossless_equals_what_was_encoded_and_what_pydicom_decodes(dicom, name, bits, signed):
    pixels = dicom.pixels(bits=bits, signed=signed, seed=bits)
    data = dicom.bytes(dicom.dataset(pixels, dicom.lossless[name], bits_stored=bits))
    got = ours(data)
    assert got.dtype == pixels.dtype
    np.testing.assert_array_equal(got, pixels)
    np.testing.assert_array_equal(got, pydicoms(data))


def test_every_transfer_syntax_of_the_registry_is_tested(dicom):
    assert set(DECODERS) == set(dicom.lossless.values()) | set(dicom.lossy.values())


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_lossless_with_every_predictor(dicom, predictor, bits):
    pixels = dicom.pixels(bits=bits, seed=predictor)
    ds = dicom.dataset(pixels, dicom.lossless["JPEG lossless"], bits_stored=bits, predictor=predictor)
    data = dicom.bytes(ds)
    np.testing.assert_array_equal(ours(data), pixels)
    np.testing.assert_array_equal(pydicoms(data), pixels)


@pytest.mark.parametrize(
    "name, bits, signed",
    [
        ("JPEG baseline", 8, False),
        ("JPEG extended", 8, False),
        *[("JPEG-LS near", bits, signed) for bits, signed in LAYOUTS],
        *[("JPEG 2000", bits, signed) for bits, signed in LAYOUTS],
        *[("HTJ2K", bits, False) for bits in (8, 16)],
    ],
)
def test_lossy_is_within_one_grey_level_of_what_pydicom_decodes(dicom, name, bits, signed):
    pixels = dicom.pixels(bits=bits, signed=signed, seed=bits)
    if name == "JPEG-LS near":  # at the range's ends, encoders and decoders may wrap round (T.87 A.4.4)
        pixels = pixels.clip(pixels.min() + 4, pixels.max() - 4)
    data = dicom.bytes(dicom.dataset(pixels, dicom.lossy[name], bits_stored=bits))
    got = ours(data)
    assert got.dtype == pixels.dtype
    difference = got.astype(np.int64) - pydicoms(data)
    assert abs(difference).max() <= 1
    # It is the image, and not only the same mistake twice.
    assert abs(got.astype(np.int64) - pixels).mean() < (1 << bits) / 50


def test_jpeg_extended_of_12_bits_is_within_one_grey_level_of_gdcm(dicom, capfd):
    pixels = dicom.pixels(rows=128, cols=112, bits=12)
    data = dicom.bytes(dicom.dataset(pixels, dicom.lossy["JPEG extended"]))
    got = ours(data)
    # pydicom hands nobody 12-bit JPEG; gdcm's own library reads it, after complaining from its 8-bit one.
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(dicom.encode(pixels, dicom.lossy["JPEG extended"], 12))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((112, 128, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation
    image.SetPhotometricInterpretation(kind(kind.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    truth = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), np.uint16).reshape(128, 112)
    assert abs(truth.astype(int) - pixels).mean() < 20  # gdcm did decode
    assert abs(got.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian", "deflated", "RLE"])
def test_what_lies_in_unused_bits_is_ignored(dicom, name, signed):
    pixels = dicom.pixels(bits=12, signed=signed)
    rng = np.random.default_rng(1)
    low = pixels.astype(np.int64) & 0x0FFF
    stained = (low | rng.integers(0, 16, pixels.shape) << 12).astype(np.uint16)
    frame = None
    if name == "RLE":
        frame = dicom.encode(stained, dicom.lossless["RLE"], 16)
    ds = dicom.dataset(stained, dicom.lossless[name], frame=frame, PixelRepresentation=int(signed))
    data = dicom.bytes(ds)
    np.testing.assert_array_equal(ours(data), pixels)
    np.testing.assert_array_equal(pydicoms(data), pixels)


@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian", "deflated", "JPEG lossless SV1", "JPEG-LS"])
def test_odd_sizes(dicom, name):
    """8 bits, an odd number of pixels: native data is padded to an even length."""
    pixels = dicom.pixels(33, 31, bits=8)
    data = dicom.bytes(dicom.dataset(pixels, dicom.lossless[name], bits_stored=8))
    np.testing.assert_array_equal(ours(data), pixels)
    np.testing.assert_array_equal(pydicoms(data), pixels)


def test_8_bits_in_big_endian_words_are_swapped(dicom):
    pixels = dicom.pixels(bits=8)
    swapped = pixels.reshape(-1, 2)[:, ::-1].tobytes()
    ds = dicom.dataset(pixels, dicom.lossless["big endian"], bits_stored=8, frame=swapped)
    ds["PixelData"].VR = "OW"
    data = dicom.bytes(ds)
    np.testing.assert_array_equal(ours(data), pixels)
    np.testing.assert_array_equal(pydicoms(data), pixels)


@pytest.mark.parametrize("name", ["JPEG lossless SV1", "JPEG 2000 lossless", "JPEG-LS", "HTJ2K lossless"])
@pytest.mark.parametrize("fragments, offsets", [(1, False), (3, True), (7, False)])
def test_fragments_with_and_without_offset_tables(dicom, name, fragments, offsets):
    pixels = dicom.pixels()
    frame = dicom.encode(pixels, dicom.lossless[name], 12)
    ds = dicom.fragmented(dicom.dataset(pixels, dicom.lossless[name]), frame, fragments, offsets)
    data = dicom.bytes(ds)
    np.testing.assert_array_equal(ours(data), pixels)
    np.testing.assert_array_equal(pydicoms(data), pixels)


@pytest.mark.parametrize("name", ["JPEG lossless SV1", "HTJ2K lossless"])
def test_extended_offset_table(dicom, name):
    pixels = dicom.pixels()
    frame = dicom.encode(pixels, dicom.lossless[name], 12)
    data = dicom.bytes(dicom.extended_offsets(dicom.dataset(pixels, dicom.lossless[name]), frame))
    np.testing.assert_array_equal(ours(data), pixels)


@pytest.mark.parametrize("signed_codestream", [False, True])
def test_jpeg_2000_whose_sign_is_not_the_headers(dicom, signed_codestream):
    """The codestream says signed and Pixel Representation 0, or the other way round; the header is right."""
    pixels = dicom.pixels(bits=12, signed=not signed_codestream)
    other = ((pixels.astype(np.int64) + 2048) % 4096 - 2048) if signed_codestream else pixels.astype(np.int64) % 4096
    as_written = other.astype(np.int16 if signed_codestream else np.uint16)
    frame = dicom.encode(as_written, dicom.lossless["JPEG 2000 lossless"], 12)
    ds = dicom.dataset(pixels, dicom.lossless["JPEG 2000 lossless"], frame=frame)
    data = dicom.bytes(ds)
    np.testing.assert_array_equal(ours(data), pixels)
    np.testing.assert_array_equal(pydicoms(data), pixels)


def test_jpeg_2000_inside_a_jp2_file(dicom):
    pixels = dicom.pixels()
    frame = imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat="jp2", bitspersample=12)
    assert frame[4:8] == b"jP  "
    ds = dicom.dataset(pixels, dicom.lossless["JPEG 2000 lossless"], frame=frame)
    np.testing.assert_array_equal(ours(dicom.bytes(ds)), pixels)


def test_8_bit_codestream_in_a_16_bit_header(dicom):
    pixels = dicom.pixels(bits=8)
    for name in ("JPEG lossless SV1", "JPEG 2000 lossless", "JPEG-LS", "HTJ2K lossless"):
        frame = dicom.encode(pixels, dicom.lossless[name], 8)
        ds = dicom.dataset(pixels.astype(np.uint16), dicom.lossless[name], bits_stored=8, frame=frame)
        got = ours(dicom.bytes(ds))
        assert got.dtype == np.uint16
        np.testing.assert_array_equal(got, pixels)


@pytest.mark.parametrize("planes", [0, 1, 2, 3, 4, 15, 200])
@pytest.mark.parametrize("bits", [8, 16])
def test_rle_of_another_number_of_planes_is_refused(planes, bits):
    """32 x 32 pixels, each plane 1024 bytes in literal runs of 128 (PS3.5 annex G)."""
    plane = b"".join(b"\x7f" + bytes([run] * 128) for run in range(8))
    offsets = [64 + number * len(plane) for number in range(min(planes, 15))]
    frame = b"".join(n.to_bytes(4, "little") for n in (planes, *offsets)).ljust(64, b"\0") + plane * planes
    form = FrameFormat(32, 32, bits, bits, False)
    syntax = "1.2.840.10008.1.2.5"
    if planes == bits // 8:
        rows = np.repeat(np.arange(32) // 4, 32).reshape(32, 32)
        np.testing.assert_array_equal(decode_frame(frame, syntax, form), rows * (257 if bits == 16 else 1))
    else:
        with pytest.raises(BrokenImage):
            decode_frame(frame, syntax, form)


def test_an_unknown_transfer_syntax_is_named(dicom):
    with pytest.raises(BrokenImage) as caught:
        decode_frame(b"", "1.2.840.10008.1.2.4.100", FrameFormat(4, 4, 8, 8, False))
    assert caught.value.reason == Reason.TRANSFER_SYNTAX
    assert "1.2.840.10008.1.2.4.100" in str(caught.value)


@pytest.mark.parametrize("name", ["RLE", "JPEG lossless SV1", "JPEG-LS", "JPEG 2000 lossless",
                                              "HTJ2K lossless", "explicit", "big endian"])  # fmt: skip
def test_another_size_than_the_headers_is_refused_before_decoding(dicom, name):
    pixels = dicom.pixels()
    syntax = dicom.lossless[name]
    ds = dicom.dataset(pixels, syntax)
    frame = ds.PixelData if syntax in dicom.native else dicom.encode(pixels, syntax, 12)
    for rows, cols in ((96, 81), (97, 80), (9600, 8000), (96, 160), (1, 1)):
        with pytest.raises(BrokenImage) as caught:
            decode_frame(frame, syntax, FrameFormat(rows, cols, 16, 12, False))
        assert caught.value.reason == Reason.DECODE, (rows, cols)


@pytest.mark.parametrize("name", ["JPEG lossless SV1", "JPEG 2000 lossless", "JPEG-LS", "HTJ2K lossless"])
def test_a_huge_codestream_does_not_reach_the_decoder(dicom, name, monkeypatch):
    """A few bytes that promise 65535 x 65535 pixels must not be believed."""
    pixels = dicom.pixels()
    frame = bytearray(dicom.encode(pixels, dicom.lossless[name], 12))
    if "2" in name:
        frame[8:16] = (65535).to_bytes(4) * 2
    else:
        at = frame.find(b"\xff\xf7" if name == "JPEG-LS" else b"\xff\xc3")
        frame[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(BrokenImage, match="header says 96, 80, 1"):
        decode_frame(bytes(frame), dicom.lossless[name], FrameFormat(96, 80, 16, 12, False))


def test_colour_codestream_under_a_grey_header(dicom):
    rgb = np.stack([dicom.pixels(bits=8)] * 3, axis=-1)
    for encode, syntax in (
        (imagecodecs.jpeg8_encode, dicom.lossy["JPEG baseline"]),
        (imagecodecs.jpeg2k_encode, dicom.lossless["JPEG 2000 lossless"]),
    ):
        with pytest.raises(BrokenImage, match="3 components"):
            decode_frame(bytes(encode(rgb)), syntax, FrameFormat(96, 80, 8, 8, False))


@pytest.mark.parametrize("name", ["JPEG lossless SV1", "JPEG-LS", "JPEG 2000 lossless", "HTJ2K lossless", "RLE",
                                  "explicit"])  # fmt: skip
@pytest.mark.parametrize("part", [0.5, 0.9, 0.999])
def test_a_frame_cut_short_is_refused(dicom, name, part):
    pixels = dicom.pixels()
    syntax = dicom.lossless[name]
    frame = pixels.tobytes() if syntax in dicom.native else dicom.encode(pixels, syntax, 12)
    with pytest.raises(BrokenImage) as caught:
        decode_frame(frame[: int(part * len(frame))], syntax, FrameFormat(96, 80, 16, 12, False))
    assert caught.value.reason == Reason.DECODE


def test_damaged_htj2k_does_not_come_back_with_its_end_zeroed(dicom):
    """As it does from OpenJPH through imagecodecs, which loses the decoder's complaints."""
    pixels = dicom.pixels(300, 260) + 1
    frame = dicom.encode(pixels, dicom.lossless["HTJ2K lossless"], 12)
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(40):
        damaged = bytearray(frame)
        for at in rng.integers(110, len(damaged) - 2, 3):
            damaged[at] = rng.integers(0, 256)
        try:
            got = decode_frame(bytes(damaged), dicom.lossless["HTJ2K lossless"], FrameFormat(300, 260, 16, 12, False))
        except BrokenImage:
            refused += 1
        else:
            assert got[-1].any()
    assert refused > 5


@pytest.mark.parametrize("name", ["RLE", "JPEG lossless SV1", "JPEG-LS", "JPEG 2000 lossless", "HTJ2K lossless",
                                  "explicit"])  # fmt: skip
def test_damage_is_one_error_or_an_image_never_anything_else(dicom, name):
    pixels = dicom.pixels(48, 40)
    syntax = dicom.lossless[name]
    frame = pixels.tobytes() if syntax in dicom.native else dicom.encode(pixels, syntax, 12)
    form = FrameFormat(48, 40, 16, 12, False)
    rng = np.random.default_rng(3)
    refused = 0
    for trial in range(150):
        damaged = bytearray(frame)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(0, len(damaged))]
        elif trial % 3 == 1:
            for at in rng.integers(0, len(damaged), 4):
                damaged[at] = rng.integers(0, 256)
        else:
            damaged = bytearray(rng.bytes(len(damaged)))
        try:
            got = decode_frame(bytes(damaged), syntax, form)
        except BrokenImage as error:
            refused += error.reason == Reason.DECODE
        else:
            assert got.shape == (48, 40)
            assert got.dtype == np.uint16
    assert refused >= 40
