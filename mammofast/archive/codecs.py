"""Encoded pixels → stored values: one registry, from transfer syntax to decoder.

Decoders get one frame's bytes and return what the stored values' low bits are, in a container of any width; what the
sign and the unused bits mean is settled in one place, :func:`decode_frame`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np
import numpy.typing as npt

from mammofast.archive.codestream import Codestream, jpeg2000_codestream, jpeg_codestream
from mammofast.errors import BrokenImage, Reason

Stored = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """What the header says about a frame of one sample per pixel (PS3.3 C.7.6.3.1)."""

    rows: int
    cols: int
    bits_allocated: int
    bits_stored: int
    signed: bool

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """The stored values' type, in this machine's byte order."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @property
    def nbytes(self) -> int:
        """The size of the stored values."""
        return self.rows * self.cols * self.bits_allocated // 8


# EOI of JPEG and JPEG-LS, EOC of JPEG 2000: no entropy-coded data holds it. Fragments are padded after it.
_END = b"\xff\xd9"
_PADDING = 32

# What a decoder returns: values, and how many of their low bits are meant.
Decoded = tuple[Stored, int]
Decoder = Callable[[bytes, FrameFormat], Decoded]


def _native(byte_order: str) -> Decoder:
    def decode(data: bytes, frame: FrameFormat) -> Decoded:
        size = frame.nbytes
        # One frame may be padded to an even length; another whole frame is not padding.
        if not size <= len(data) < 2 * size + 2:
            raise BrokenImage(Reason.DECODE, f"got {len(data)} bytes of pixels, expected {size}")
        dtype = np.dtype(f"{byte_order}u{frame.bits_allocated // 8}")
        values = np.frombuffer(data, dtype, frame.rows * frame.cols).reshape(frame.rows, frame.cols)
        return values, frame.bits_stored

    return decode


def _rle(data: bytes, frame: FrameFormat) -> Decoded:
    dtype = np.dtype(f"u{frame.bits_allocated // 8}")
    decoded = imagecodecs.dicomrle_decode(data, dtype, out=frame.rows * frame.cols * dtype.itemsize)
    return np.frombuffer(decoded, dtype).reshape(frame.rows, frame.cols), frame.bits_stored


def _codestream(read: Callable[[bytes], Codestream], decode: Callable[[bytes], Stored]) -> Decoder:
    def decode_checked(data: bytes, frame: FrameFormat) -> Decoded:
        # Before decoding: the codestream's own header says how much memory the decoder will take.
        found = read(data)
        if (found.rows, found.cols, found.components) != (frame.rows, frame.cols, 1):
            raise BrokenImage(
                Reason.DECODE,
                f"the codestream has {found.rows} rows, {found.cols} columns, {found.components} components; "
                f"the header says {frame.rows}, {frame.cols}, 1",
            )
        if found.precision > frame.bits_allocated:
            raise BrokenImage(
                Reason.DECODE,
                f"the codestream has {found.precision} bits, more than Bits Allocated {frame.bits_allocated}",
            )
        # Decoders fill what is missing with grey or zeros, and CharLS takes seconds to give up.
        if _END not in data[-_PADDING:]:
            raise BrokenImage(Reason.DECODE, "the codestream is cut off: it has no end marker")
        return decode(data), found.precision

    return decode_checked


def _openjpeg(data: bytes) -> Stored:
    # For HTJ2K too: OpenJPH is three times faster, but imagecodecs loses its complaints, and a damaged frame is
    # then an image whose end is zeros. One thread: images are decoded side by side.
    values: Stored = imagecodecs.jpeg2k_decode(data, numthreads=1)
    return values


_JPEG = _codestream(jpeg_codestream, imagecodecs.jpeg8_decode)
_JPEG_LS = _codestream(jpeg_codestream, imagecodecs.jpegls_decode)
_JPEG_2000 = _codestream(jpeg2000_codestream, _openjpeg)

# PS3.5 annex A. imagecodecs is the fastest well-kept route; nothing here is GPL.
DECODERS: dict[str, Decoder] = {
    "1.2.840.10008.1.2": _native("<"),  # Implicit VR Little Endian
    "1.2.840.10008.1.2.1": _native("<"),  # Explicit VR Little Endian
    "1.2.840.10008.1.2.1.99": _native("<"),  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2": _native(">"),  # Explicit VR Big Endian
    "1.2.840.10008.1.2.5": _rle,  # RLE Lossless
    "1.2.840.10008.1.2.4.50": _JPEG,  # JPEG Baseline (8 bit)
    "1.2.840.10008.1.2.4.51": _JPEG,  # JPEG Extended (8 and 12 bit)
    "1.2.840.10008.1.2.4.57": _JPEG,  # JPEG Lossless
    "1.2.840.10008.1.2.4.70": _JPEG,  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.80": _JPEG_LS,  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81": _JPEG_LS,  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.90": _JPEG_2000,  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91": _JPEG_2000,  # JPEG 2000
    "1.2.840.10008.1.2.4.201": _JPEG_2000,  # High-Throughput JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.202": _JPEG_2000,  # High-Throughput JPEG 2000 with RPCL, Lossless
    "1.2.840.10008.1.2.4.203": _JPEG_2000,  # High-Throughput JPEG 2000
}
NATIVE = frozenset(uid for uid in DECODERS if not uid.startswith("1.2.840.10008.1.2.4") and not uid.endswith("1.2.5"))


def decode_frame(data: bytes, transfer_syntax_uid: str, frame: FrameFormat) -> Stored:
    """Decode one frame.

    Parameters
    ----------
    data: the frame, its fragments joined. frame: what the header says it holds.

    Returns
    -------
    (rows, cols) of ``frame.dtype``, the stored values: signed where Pixel Representation is 1; bits above Bits Stored,
    which may hold overlays or anything else (PS3.5 8.1.1), are replaced by the sign.

    Raises
    ------
    BrokenImage
        TRANSFER_SYNTAX for one without a decoder, DECODE for what does not decode to what the header says.

    """
    decoder = DECODERS.get(transfer_syntax_uid)
    if decoder is None:
        raise BrokenImage(Reason.TRANSFER_SYNTAX, f"{transfer_syntax_uid} has no decoder")
    try:
        values, precision = decoder(data, frame)
    except BrokenImage:
        raise
    except Exception as error:
        # A codec's message may quote what it read.
        raise BrokenImage(Reason.DECODE, f"the codec gave up ({type(error).__name__})") from None
    if values.shape != (frame.rows, frame.cols):
        raise BrokenImage(Reason.DECODE, f"decoded to {values.shape}, expected {(frame.rows, frame.cols)}")
    return _stored(values, precision, frame)


def _stored(values: Stored, precision: int, frame: FrameFormat) -> Stored:
    """Read the low ``precision`` bits as the header's type, whatever sign the codec gave them."""
    wanted = values.astype(frame.dtype, copy=False)
    unused = frame.bits_allocated - precision
    if unused == 0:
        return np.ascontiguousarray(wanted)
    if not frame.signed and wanted.max(initial=0) < 1 << precision:
        return np.ascontiguousarray(wanted)
    # Shifted up and down again, the topmost meant bit fills the unused ones: with itself if signed, with 0 if not.
    return (wanted << unused) >> unused
