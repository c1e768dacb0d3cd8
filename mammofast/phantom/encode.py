"""Pixels to encapsulated bytes in the transfer syntaxes that mammography uses, all lossless."""

from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.encaps import encapsulate

Pixels = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Syntax:
    """A transfer syntax and its encoder; ``None`` where pixels go as they are.

    whole_words: the code stream says 16 bits whatever the pixels hold, so Bits Stored must say 16 too.
    """

    uid: uid.UID
    encode: Callable[[Pixels, int], bytes] | None
    whole_words: bool = False


def pixel_data(syntax: Syntax, pixels: Pixels, bits: int) -> bytes:
    """Return the value of Pixel Data: ``bits`` of each pixel are used."""
    if syntax.encode is None:
        return np.ascontiguousarray(pixels, "<u2").tobytes()
    encapsulated: bytes = encapsulate([syntax.encode(pixels, bits)])
    return encapsulated


def _jpeg_lossless(pixels: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=bits))


def _jpeg_ls(pixels: Pixels, bits: int) -> bytes:
    stream = bytes(imagecodecs.jpegls_encode(pixels))
    # DICOM's streams have no SPIFF header: from SOI straight to the frame header.
    return stream[:2] + stream[stream.index(b"\xff\xf7") :]


def _jpeg_2000(pixels: Pixels, bits: int) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, bitspersample=bits, numthreads=1)
    )


def _htj2k(pixels: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))


def _rle(pixels: Pixels, bits: int) -> bytes:
    """PS3.5 annex G: high bytes, then low bytes, every row packed on its own."""
    segments = []
    for plane in (pixels >> 8, pixels & 255):
        packed = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane.astype(np.uint8))
        segments.append(packed + b"\0" * (len(packed) % 2))
    header = np.zeros(16, "<u4")
    header[:3] = len(segments), 64, 64 + len(segments[0])
    return header.tobytes() + b"".join(segments)


SYNTAXES = (
    Syntax(uid.ExplicitVRLittleEndian, None),
    Syntax(uid.ImplicitVRLittleEndian, None),
    Syntax(uid.DeflatedExplicitVRLittleEndian, None),
    Syntax(uid.JPEGLosslessSV1, _jpeg_lossless),
    Syntax(uid.JPEGLSLossless, _jpeg_ls, whole_words=True),
    Syntax(uid.JPEG2000Lossless, _jpeg_2000),
    Syntax(uid.HTJ2KLossless, _htj2k, whole_words=True),
    Syntax(uid.RLELossless, _rle),
)
