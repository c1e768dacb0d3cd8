"""What an encoded frame says of itself, read without decoding it."""

from dataclasses import dataclass

from mammofast.errors import BrokenImage, Reason

# Start-of-frame markers: SOF0-SOF15 without DHT, JPG and DAC (ITU-T T.81 table B.1), and SOF55 of JPEG-LS (T.87).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
# Markers without a length: TEM, RST0-RST7, SOI, EOI.
_ALONE = frozenset({0x01}) | frozenset(range(0xD0, 0xDA))
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


@dataclass(frozen=True, slots=True)
class Codestream:
    """The size of the image inside, its components and bits per sample."""

    rows: int
    cols: int
    components: int
    precision: int


def jpeg_codestream(data: bytes) -> Codestream:
    """Read the frame header of JPEG (T.81) and JPEG-LS (T.87).

    Raises
    ------
    BrokenImage
        DECODE, when there is none.

    """
    at = 2
    if data[:2] != b"\xff\xd8":
        raise BrokenImage(Reason.DECODE, "the frame is not a JPEG codestream")
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _START_OF_FRAME and at + 10 <= len(data):
            return Codestream(
                rows=int.from_bytes(data[at + 5 : at + 7]),
                cols=int.from_bytes(data[at + 7 : at + 9]),
                components=data[at + 9],
                precision=data[at + 4],
            )
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    raise BrokenImage(Reason.DECODE, "the JPEG codestream has no frame header")


def jpeg2000_codestream(data: bytes) -> Codestream:
    """Read the SIZ marker of JPEG 2000 and HTJ2K (T.800 A.5.1), bare as DICOM wants it or inside a JP2 file.

    Raises
    ------
    BrokenImage
        DECODE, when there is none.

    """
    at = 0
    if data.startswith(_JP2_SIGNATURE):
        # Against PS3.5 8.2.4, but files exist. Boxes before the codestream are small.
        at = data.find(b"jp2c", 0, 65536) + 4
    siz = data[at : at + 45]
    if siz[:4] != b"\xff\x4f\xff\x51" or len(siz) < 43:
        raise BrokenImage(Reason.DECODE, "the frame is not a JPEG 2000 codestream")
    x_size, y_size, x_offset, y_offset = (int.from_bytes(siz[i : i + 4]) for i in range(8, 24, 4))
    return Codestream(
        rows=y_size - y_offset,
        cols=x_size - x_offset,
        components=int.from_bytes(siz[40:42]),
        precision=(siz[42] & 0x7F) + 1,
    )
