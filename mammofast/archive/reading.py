"""One DICOM file → its data set without pixels, and the pixels of its one frame."""

import io
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import BinaryIO, cast

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from mammofast.archive.codecs import NATIVE, FrameFormat, Stored, decode_frame
from mammofast.archive.mammogram import uid
from mammofast.archive.sources import LARGE_BYTES, MAX_FILE_BYTES
from mammofast.errors import BrokenImage, Reason, UnusableImage

_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXEL_TAGS = (0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010)
_META_START = 132


def read_dicom(
    stream: BinaryIO, header_only: bool = False, before_large: Callable[[], object] = lambda: None
) -> Dataset:
    """Read a DICOM Part 10 file.

    ``before_large`` is called before more than ``LARGE_BYTES`` are inflated of a small file.

    Raises
    ------
    UnusableImage
        NOT_DICOM, when it is something else.
    BrokenImage
        BAD_HEADER, when it cannot be parsed; TOO_LARGE, when inflating gives more than is ever read.

    """
    stream = cast(BinaryIO, _Clipped(stream))
    try:
        start = stream.read(_META_START + 12)
        stream.seek(0)
        if start[128:132] != b"DICM":
            raise UnusableImage(Reason.NOT_DICOM, "the file is not a DICOM Part 10 file")
        inflated = _inflate(stream, start, header_only, before_large)
        if inflated is not None:
            return inflated
        dataset = dcmread(stream, stop_before_pixels=header_only)
        if len(dataset) == 0:
            # Of a data set that ends inside its pixels pydicom returns nothing; what stands before them is sound.
            stream.seek(0)
            dataset = dcmread(stream, stop_before_pixels=True)
        return dataset
    except (UnusableImage, BrokenImage):
        raise
    except InvalidDicomError:
        raise UnusableImage(Reason.NOT_DICOM, "the file is not a DICOM Part 10 file") from None
    except Exception as error:
        raise BrokenImage(Reason.BAD_HEADER, f"the data set cannot be parsed ({type(error).__name__})") from None


def transfer_syntax(dataset: Dataset) -> str:
    """Return the transfer syntax UID.

    Raises
    ------
    BrokenImage
        TRANSFER_SYNTAX, when the file names none.

    """
    syntax = uid(dataset.file_meta, "TransferSyntaxUID")
    if syntax is None:
        raise BrokenImage(Reason.TRANSFER_SYNTAX, "the file names no transfer syntax, or what is no UID")
    return syntax


def read_pixels(dataset: Dataset, frame: FrameFormat) -> Stored:
    """Decode the one frame of a data set.

    Raises
    ------
    BrokenImage
        NO_PIXELS, TRANSFER_SYNTAX or DECODE.

    """
    syntax = transfer_syntax(dataset)
    data = _pixel_data(dataset, frame, syntax)
    return decode_frame(data if syntax in NATIVE else _one_frame(data), syntax, frame)


def read_frames(dataset: Dataset, frame: FrameFormat, count: int) -> Iterator[Stored]:
    """Decode the frames of a data set, one after the other; raises as ``read_pixels``."""
    syntax = transfer_syntax(dataset)
    data = _pixel_data(dataset, frame, syntax)
    if syntax in NATIVE:
        size = frame.nbytes
        if not size * count <= len(data) <= size * count + 1:
            raise BrokenImage(Reason.DECODE, f"got {len(data)} bytes of pixels, expected {size * count}")
        for start in range(0, size * count, size):
            yield decode_frame(data[start : start + size], syntax, frame)
        return
    found = 0
    for encoded in _several_frames(dataset, data, count):
        yield decode_frame(encoded, syntax, frame)
        found += 1
    if found != count:
        raise BrokenImage(Reason.DECODE, f"Pixel Data holds {found} frames, the header says {count}")


def _pixel_data(dataset: Dataset, frame: FrameFormat, syntax: str) -> bytes:
    try:
        element = dataset.get_item(0x7FE00010)
    except Exception as error:
        raise BrokenImage(Reason.NO_PIXELS, f"Pixel Data cannot be read ({type(error).__name__})") from None
    data = getattr(element, "value", None)
    if not isinstance(data, bytes) or not data:
        raise BrokenImage(Reason.NO_PIXELS, "Pixel Data is empty, or holds floating-point pixels")
    if syntax in NATIVE and not dataset.original_encoding[1] and frame.bits_allocated == 8 and element.VR != "OB":
        # OW in big endian: each word's two bytes are swapped, whatever they hold (PS3.5 A.3).
        data = _swap(data)
    return data


def _several_frames(dataset: Dataset, data: bytes, count: int) -> Iterator[bytes]:
    offsets, lengths = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    extended = (offsets, lengths) if offsets and lengths else None
    try:
        # More than the header says is seen, not passed over.
        yield from islice(generate_frames(data, number_of_frames=count, extended_offsets=extended), count + 1)
    except Exception as error:
        raise BrokenImage(Reason.DECODE, f"the frames cannot be told apart ({type(error).__name__})") from None


def header_bytes(dataset: Dataset) -> bytes:
    """Return the data set without its pixels as a DICOM Part 10 file; nothing else of it is changed."""
    buffer = io.BytesIO()
    try:
        kept = Dataset()
        kept.update({tag: dataset.get_item(tag) for tag in dataset.keys() if tag not in _PIXEL_TAGS})  # noqa: SIM118
        kept.file_meta = dataset.file_meta
        kept.preamble = dataset.preamble
        implicit, little = dataset.original_encoding
        kept.set_original_encoding(implicit, little, dataset.original_character_set)
        dcmwrite(buffer, kept, implicit_vr=implicit, little_endian=little, force_encoding=True)
    except Exception as error:
        raise BrokenImage(Reason.BAD_HEADER, f"the data set cannot be written again ({type(error).__name__})") from None
    return buffer.getvalue()


def same_header(one: bytes, other: bytes) -> bool:
    """Say whether two of ``header_bytes`` hold the same data set; how it is encoded, group 2 says, is left out."""
    try:
        first, second = dcmread(io.BytesIO(one)), dcmread(io.BytesIO(other))
        return _body(first) == _body(second) or bool(first == second)
    except Exception:  # what cannot be compared is not known to be the same
        return False


def _body(dataset: Dataset) -> tuple[object, bytes]:
    """Return a data set as it was read, without preamble and group 2."""
    encoding = dataset.original_encoding
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = encoding
    write_dataset(buffer, dataset)
    return encoding, buffer.getvalue()


class _Clipped:
    """A stream that is asked for no more than it has left: a file object would first allocate what a length says."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._stream.tell(), 0)
        return self._stream.read(left if size < 0 else min(size, left))


def _one_frame(data: bytes) -> bytes:
    """Join the fragments of the only frame; offset tables say nothing that one frame needs."""
    try:
        buffer = io.BytesIO(data)
        if len(parse_basic_offsets(buffer)) > 1:
            raise BrokenImage(Reason.DECODE, "the offset table names several frames, the header one")
        # parse_basic_offsets leaves the buffer at the first fragment.
        return b"".join(generate_fragments(buffer))
    except BrokenImage:
        raise
    except Exception as error:
        raise BrokenImage(Reason.DECODE, f"the fragments cannot be read ({type(error).__name__})") from None


def _swap(data: bytes) -> bytes:
    swapped = bytearray(data + b"\0" * (len(data) % 2))
    swapped[0::2], swapped[1::2] = swapped[1::2], swapped[0::2]
    return bytes(swapped)


def _inflate(stream: BinaryIO, start: bytes, refuse: bool, before_large: Callable[[], object]) -> Dataset | None:
    """Read a deflated data set, up to a size, unless it is to be refused at once; None for other transfer syntaxes.

    dcmread would inflate without a bound. The group of file meta information is never deflated; its length stands first
    in it (PS3.10 7.1).
    """
    if start[132:136] != b"\x02\x00\x00\x00" or start[136:138] != b"UL":
        return None
    end = len(start) + int.from_bytes(start[140:144], "little")
    if end > MAX_FILE_BYTES:
        return None
    meta = stream.read(end)
    file_meta = dcmread(io.BytesIO(meta)).file_meta
    if file_meta.get("TransferSyntaxUID") != _DEFLATED:
        stream.seek(0)
        return None
    if refuse:
        raise BrokenImage(Reason.TOO_LARGE, "the deflated data set is larger than any image")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(stream.read(), LARGE_BYTES)
    if inflater.unconsumed_tail:
        before_large()
        data += inflater.decompress(inflater.unconsumed_tail, MAX_FILE_BYTES - LARGE_BYTES)
    if inflater.unconsumed_tail and not inflater.eof:  # behind the end a byte of padding may follow
        raise BrokenImage(Reason.TOO_LARGE, f"the data set inflates to more than {MAX_FILE_BYTES} bytes")
    dataset = read_dataset(io.BytesIO(data), is_implicit_VR=False, is_little_endian=True)
    dataset.file_meta = file_meta
    dataset.preamble = meta[:128]
    return dataset
