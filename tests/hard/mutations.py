"""Damaged and hostile DICOM objects, seeded: the same seed and number always give the same bytes.

Objects of every transfer syntax are taken apart into their elements and put together wrongly. Nothing here knows what
the archive does with them.
"""

import io
import random
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydicom import dcmread

PIXEL_DATA = 0x7FE00010
MIB = 1 << 20
# What no output may hold: the patient's name and number, as every object has them.
IDENTIFIERS = ("SECRET", "Doe")
_LONG = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"})
_OTHER_UIDS = (
    "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.4.92", "1.2.3", "1." * 40 + "1", "", "SECRET^NAME", "../../SECRET", "\0\0",
)  # fmt: skip
_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.13.1.3", "1.2.840.10008.5.1.4.1.1.88.50",
    "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.1.3.10", "SECRET^NAME", "",
)  # fmt: skip
_TEXTS = (
    b"SECRET", b"DOE", b"SECRET^NAME", b"SECRET\\Doe", b"", b"\0\0", b"   ", b"\xff\xfe\xfd\xfc", b"../../SECRET",
    b"1e400", b"nan", b"-1", b"1.5", b"\\\\\\\\", b"SECRET" * 5000, b"9" * 65000, b"\x1b$B\x1b(J", b"%s%n{0}",
)  # fmt: skip
_SHORTS = (0, 1, 2, 3, 7, 9, 12, 15, 17, 24, 32, 64, 127, 255, 256, 4096, 11000, 32768, 65534, 65535)
# Attributes whose text triage, grey scale or the record may read or quote.
_TEXT_TAGS = {
    0x00080005: b"CS", 0x00080008: b"CS", 0x00080016: b"UI", 0x00080018: b"UI", 0x00080060: b"CS", 0x00080068: b"CS",
    0x00100010: b"PN", 0x00181164: b"DS", 0x00185101: b"CS", 0x0020000D: b"UI", 0x0020000E: b"UI", 0x00200060: b"CS",
    0x00200062: b"CS", 0x00280004: b"CS", 0x00280008: b"IS", 0x00281050: b"DS", 0x00281051: b"DS", 0x00281052: b"DS",
    0x00281053: b"DS", 0x00281056: b"CS", 0x20500020: b"CS",
}  # fmt: skip
_SHORT_TAGS = (0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
_SEQUENCE_TAGS = (0x00082218, 0x00540220, 0x00540222, 0x00283000, 0x00283010, 0x00091010, 0x00081140)


@dataclass(frozen=True)
class Mutation:
    """One hostile file. syntax: of the object it was made from. is_zip: its members are what is ingested."""

    number: int
    syntax: str
    kind: str
    data: bytes
    is_zip: bool = False


@dataclass(frozen=True)
class _Element:
    tag: int
    vr: bytes
    start: int  # of its tag, in the body
    value: int
    end: int


@dataclass
class _Object:
    """A DICOM file in parts: preamble and file meta information, and the data set, which may have been deflated."""

    meta: bytes
    body: bytes
    implicit: bool
    little: bool
    deflated: bool

    @classmethod
    def of(cls, data: bytes) -> "_Object":
        end = 144 + struct.unpack_from("<I", data, 140)[0]
        meta, body = data[:end], data[end:]
        syntax = str(dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta.TransferSyntaxUID)
        deflated = syntax.endswith("1.2.1.99")
        body = zlib.decompress(body, -zlib.MAX_WBITS) if deflated else body
        return cls(meta, body, syntax == "1.2.840.10008.1.2", syntax != "1.2.840.10008.1.2.2", deflated)

    @property
    def order(self) -> str:
        return "<" if self.little else ">"

    @cached_property
    def elements(self) -> list[_Element]:
        """The top level's elements."""
        found, at = [], 0
        while at + 8 <= len(self.body):
            group, number = struct.unpack_from(f"{self.order}HH", self.body, at)
            vr, header = self.body[at + 4 : at + 6], 8
            if self.implicit:
                vr, length = b"", struct.unpack_from(f"{self.order}I", self.body, at + 4)[0]
            elif vr in _LONG:
                header, length = 12, struct.unpack_from(f"{self.order}I", self.body, at + 8)[0]
            else:
                length = struct.unpack_from(f"{self.order}H", self.body, at + 6)[0]
            end = min(at + header + length, len(self.body))  # undefined length: the pixels, which are last
            found.append(_Element(group << 16 | number, vr, at, at + header, end))
            at = end
        return found

    def find(self, tag: int) -> _Element | None:
        return next((element for element in self.elements if element.tag == tag), None)

    def encode(self, tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
        """Return an element's bytes; ``length``: what it says instead of the truth."""
        length = len(value) if length is None else length
        head = struct.pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF)
        if self.implicit:
            return head + struct.pack(f"{self.order}I", length) + value
        if vr in _LONG:
            return head + vr + b"\0\0" + struct.pack(f"{self.order}I", length) + value
        return head + vr + struct.pack(f"{self.order}H", min(length, 0xFFFF)) + value[:0xFFFF]

    def put(self, encoded: bytes, tag: int) -> "_Object":
        """Return the object with an element instead of the one of that tag, or where it belongs."""
        old = self.find(tag)
        start = old.start if old else next((e.start for e in self.elements if e.tag > tag), len(self.body))
        return self.with_body(self.body[:start] + encoded + self.body[old.end if old else start :])

    def with_body(self, body: bytes) -> "_Object":
        return _Object(self.meta, body, self.implicit, self.little, self.deflated)

    def bytes(self) -> bytes:
        if not self.deflated:
            return self.meta + self.body
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return self.meta + deflater.compress(self.body) + deflater.flush()


class Mutations:
    """Makes mutation number n of a seed. ``dicom``: the fixture of that name, which writes sound objects."""

    def __init__(self, dicom, seed: int) -> None:
        self._dicom = dicom
        self._seed = seed
        self.syntaxes = {**dicom.lossless, **dicom.lossy}
        self._frames: dict[str, tuple[np.ndarray, bytes | None, int]] = {}
        for name, uid in self.syntaxes.items():
            bits = 8 if name in ("JPEG baseline", "JPEG extended", "HTJ2K") else 12
            pixels = dicom.pixels(64, 48, bits=bits, seed=len(self._frames))
            self._frames[name] = (pixels, None if uid in dicom.native else dicom.encode(pixels, uid, bits), bits)

    def make(self, number: int) -> Mutation:
        """Return a mutation. Syntaxes take turns, kinds take turns over them; what costs seconds comes seldom."""
        rng = random.Random(f"{self._seed}-{number}")
        names = list(self._frames)
        name = names[number % len(names)]
        kind = _KINDS[number // len(names) % len(_KINDS)]
        if number % 331 == 17:
            kind = rng.choice(_BOMBS)
        elif number % 61 == 5:
            kind = zipped
        whole = _Object.of(self.sound(name, number))
        return Mutation(number, name, kind.__name__, kind(whole, rng), is_zip=kind is zipped)

    def sound(self, name: str, number: int) -> bytes:
        """Return an undamaged object of a transfer syntax, its UIDs its own."""
        pixels, frame, bits = self._frames[name]
        uids = {
            key: f"1.2.826.0.1.3680043.8.498.{self._seed}.{number}.{part}"
            for part, key in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
        }
        names = {"PatientName": "SECRET^Doe", "ReferringPhysicianName": "Doe^SECRET"}
        syntax = self.syntaxes[name]
        return self._dicom.bytes(self._dicom.dataset(pixels, syntax, bits_stored=bits, frame=frame, **uids, **names))


def sound(whole: _Object, rng: random.Random) -> bytes:
    return whole.bytes()


def truncated(whole: _Object, rng: random.Random) -> bytes:
    data = whole.bytes()
    return data[: rng.choice((rng.randrange(len(data)), len(data) - rng.randrange(1, 64), rng.randrange(200)))]


def header_bits(whole: _Object, rng: random.Random) -> bytes:
    end = whole.find(PIXEL_DATA).start
    return whole.with_body(_flip(whole.body, rng, 0, end)).bytes()


def meta_bits(whole: _Object, rng: random.Random) -> bytes:
    whole.meta = _flip(whole.meta, rng, 128, len(whole.meta))
    return whole.bytes()


def pixel_bits(whole: _Object, rng: random.Random) -> bytes:
    if whole.deflated and rng.random() < 0.5:
        data = whole.bytes()
        return _flip(data, rng, len(whole.meta), len(data))
    return whole.with_body(_flip(whole.body, rng, whole.find(PIXEL_DATA).value, len(whole.body))).bytes()


def codestream_head_bits(whole: _Object, rng: random.Random) -> bytes:
    start = min(whole.find(PIXEL_DATA).value + 16, len(whole.body) - 1)  # behind empty offset table and item's head
    return whole.with_body(_flip(whole.body, rng, start, min(start + 160, len(whole.body)))).bytes()


def encapsulation_bits(whole: _Object, rng: random.Random) -> bytes:
    start = whole.find(PIXEL_DATA).start
    ends = (start, min(start + 40, len(whole.body))), (len(whole.body) - 8, len(whole.body))
    return whole.with_body(_flip(whole.body, rng, *rng.choice(ends))).bytes()


def overwritten(whole: _Object, rng: random.Random) -> bytes:
    body, size = bytearray(whole.body), rng.choice((1, 2, 4, 16, 64, 500))
    start = rng.randrange(len(body))
    fill = rng.choice((b"\0", b"\xff", rng.randbytes(1)))
    body[start : start + size] = rng.choice((fill * size, rng.randbytes(size), b"", fill * size * 2))
    return whole.with_body(bytes(body)).bytes()


def swapped_lengths(whole: _Object, rng: random.Random) -> bytes:
    body = bytearray(whole.body)
    first, second = rng.sample(whole.elements, 2)
    wide = [4 if whole.implicit or element.vr in _LONG else 2 for element in (first, second)]
    size = min(wide)
    # Little-endian lengths begin with their low bytes, big-endian ones end with them.
    places = [
        slice(e.value - w, e.value - w + size) if whole.little else slice(e.value - size, e.value)
        for e, w in zip((first, second), wide, strict=True)
    ]
    body[places[0]], body[places[1]] = body[places[1]], body[places[0]]
    return whole.with_body(bytes(body)).bytes()


def huge_length(whole: _Object, rng: random.Random) -> bytes:
    body = bytearray(whole.body)
    element = rng.choice([*whole.elements, whole.find(PIXEL_DATA)])
    if whole.implicit or element.vr in _LONG:
        length = rng.choice((0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFF0, 0x80000000, 0x7FFFFFFE, 0x10000000, len(body) * 2))
        struct.pack_into(f"{whole.order}I", body, element.value - 4, length)
    else:
        struct.pack_into(f"{whole.order}H", body, element.value - 2, rng.choice((0xFFFF, 0xFFFE, 0x8000, 0x0FFF, 1)))
    return whole.with_body(bytes(body)).bytes()


def huge_item(whole: _Object, rng: random.Random) -> bytes:
    """The lengths of offset table and fragments; of native pixels, their own."""
    body, element = bytearray(whole.body), whole.find(PIXEL_DATA)
    at = rng.choice([i for i in (element.value - 4, element.value + 4, element.value + 12) if i + 4 <= len(body)])
    length = rng.choice((0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0x40000000, len(body), 0, 1, 4))
    struct.pack_into(f"{whole.order}I", body, at, length)
    return whole.with_body(bytes(body)).bytes()


def absurd_numbers(whole: _Object, rng: random.Random) -> bytes:
    for tag in rng.sample(_SHORT_TAGS, rng.choice((1, 1, 2, 3))):
        value = struct.pack(f"{whole.order}H", rng.choice(_SHORTS)) * rng.choice((1, 1, 1, 0, 2))
        whole = whole.put(whole.encode(tag, b"US", value), tag)
    if rng.random() < 0.3:
        frames = rng.choice((b"0", b"2", b"-1", b"2147483647", b"99999999999999999999", b"1e9", b"1\\1", b"SECRET"))
        whole = whole.put(whole.encode(0x00280008, b"IS", frames + b" " * (len(frames) % 2)), 0x00280008)
    return whole.bytes()


def wrong_modality(whole: _Object, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        value = rng.choice((b"CT", b"MR", b"SECRET", b"DOE", b"mg", b"SR", b"M\0", b"XX" * 40))
        return whole.put(whole.encode(0x00080060, b"CS", value + b" " * (len(value) % 2)), 0x00080060).bytes()
    value = rng.choice(_CLASSES).encode()
    return whole.put(whole.encode(0x00080016, b"UI", value + b"\0" * (len(value) % 2)), 0x00080016).bytes()


def wrong_transfer_syntax(whole: _Object, rng: random.Random) -> bytes:
    ends = ("", ".1", ".2", ".1.99", ".5", *(f".4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 203)))
    uid = rng.choice((*(f"1.2.840.10008.1.2{end}" for end in ends), *_OTHER_UIDS)).encode()
    uid += b"\0" * (len(uid) % 2)
    start = whole.meta.index(b"\x02\x00\x10\x00UI")
    end = start + 8 + struct.unpack_from("<H", whole.meta, start + 6)[0]
    element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid if rng.random() < 0.95 else b""
    meta = bytearray(whole.meta[:start] + element + whole.meta[end:])
    struct.pack_into("<I", meta, 140, len(meta) - 144)
    whole.meta = bytes(meta)
    return whole.bytes()


def odd_text(whole: _Object, rng: random.Random) -> bytes:
    for tag in rng.sample(list(_TEXT_TAGS), rng.choice((1, 1, 2, 5))):
        vr = _TEXT_TAGS[tag] if rng.random() < 0.8 else rng.choice((b"LO", b"US", b"FD", b"SQ", b"UN", b"AT", b"ZZ"))
        text = rng.choice(_TEXTS)
        whole = whole.put(whole.encode(tag, vr, text + b" " * (len(text) % 2)), tag)
    return whole.bytes()


def hostile_sequence(whole: _Object, rng: random.Random) -> bytes:
    tag = rng.choice(_SEQUENCE_TAGS)
    item, item_end, sequence_end = (
        struct.pack(f"{whole.order}HHI", 0xFFFE, number, length)
        for number, length in ((0xE000, 0xFFFFFFFF), (0xE00D, 0), (0xE0DD, 0))
    )
    opening = whole.encode(tag, b"SQ", b"", 0xFFFFFFFF) + item
    depth = rng.choice((2, 30, 300, 3000))
    shape = rng.randrange(5)
    if shape == 0:  # nested, closed
        content = opening * depth + (item_end + sequence_end) * depth
    elif shape == 1:  # nested, never closed
        content = opening * depth
    elif shape == 2:  # very many items
        content = whole.encode(tag, b"SQ", b"", 0xFFFFFFFF) + (item + item_end) * depth * 3 + sequence_end
    elif shape == 3:  # nested with lengths
        content = b""
        for _ in range(min(depth, 300)):
            inner = struct.pack(f"{whole.order}HHI", 0xFFFE, 0xE000, len(content)) + content
            content = whole.encode(tag, b"SQ", inner)
    else:  # not a sequence at all, or one of the wrong kind
        content = whole.encode(tag, rng.choice((b"SQ", b"LO", b"UN", b"US")), rng.randbytes(2 * rng.randrange(40)))
    return whole.put(content, tag).bytes()


def grey_scale(whole: _Object, rng: random.Random) -> bytes:
    """Look-up tables and windows that mean nothing."""
    lut = b"".join(
        whole.encode(tag, vr, value)
        for tag, vr, value in (
            (0x00283002, b"US", struct.pack(f"{whole.order}3H", *(rng.choice(_SHORTS) for _ in range(3)))),
            (0x00283006, b"OW", rng.randbytes(2 * rng.choice((0, 1, 256, 4096)))),
        )
    )
    tag = rng.choice((0x00283000, 0x00283010))
    inner = struct.pack(f"{whole.order}HHI", 0xFFFE, 0xE000, len(lut)) + lut
    whole = whole.put(whole.encode(tag, b"SQ", inner), tag)
    for number in (0x00281050, 0x00281051, 0x00281052, 0x00281053):
        value = rng.choice((b"0 ", b"nan ", b"1e400 ", b"-1", b"1\\2\\3 ", b"SECRET", b"1e-320"))
        whole = whole.put(whole.encode(number, b"DS", value), number) if rng.random() < 0.5 else whole
    return whole.bytes()


def noise(whole: _Object, rng: random.Random) -> bytes:
    data = whole.bytes()
    return rng.choice((
        b"", rng.randbytes(rng.randrange(300)), bytes(128) + b"DICM", bytes(128) + b"DICM" + rng.randbytes(300),
        data[132:], b"SECRET^Doe is not DICOM", data[:400] + rng.randbytes(400), data[: len(whole.meta)],
        data[: len(whole.meta)] + rng.randbytes(500), data + data, data + rng.randbytes(333),
        data[:131] + b"X" + data[132:],
    ))  # fmt: skip


def shuffled(whole: _Object, rng: random.Random) -> bytes:
    """Elements out of order, missing, or there twice."""
    parts = [whole.body[element.start : element.end] for element in whole.elements]
    how = rng.randrange(3)
    if how == 0:
        rng.shuffle(parts)
    elif how == 1:
        del parts[rng.randrange(len(parts))]
    else:
        parts.insert(rng.randrange(len(parts)), rng.choice(parts))
    return whole.with_body(b"".join(parts)).bytes()


def deflate_bomb(whole: _Object, rng: random.Random) -> bytes:
    """A deflated data set of a few hundred kB that unfolds to more than any image."""
    meta = whole.meta
    start = meta.index(b"\x02\x00\x10\x00UI")
    end = start + 8 + struct.unpack_from("<H", meta, start + 6)[0]
    uid = b"1.2.840.10008.1.2.1.99"
    meta = meta[:start] + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid + meta[end:]
    meta = meta[:140] + struct.pack("<I", len(meta) - 144) + meta[144:]
    size = rng.choice((40 * MIB, 300 * MIB, 2000 * MIB))
    little = _Object(meta, b"", implicit=False, little=True, deflated=True)
    head = little.encode(rng.choice((0x00091010, PIXEL_DATA)), rng.choice((b"OB", b"UN", b"UT")), b"", size)
    deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    # A full flush makes a block of zeros the same bytes wherever it stands.
    start_block = deflater.compress(head) + deflater.flush(zlib.Z_FULL_FLUSH)
    block = deflater.compress(bytes(MIB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return meta + start_block + block * (size // MIB) + deflater.flush()


def size_bomb(whole: _Object, rng: random.Random) -> bytes:
    """Header and codestream agree on a size that nothing in the file bears out."""
    rows, cols = rng.choice(((11000, 11000), (2, 65000), (65535, 2048), (8000, 1), (65535, 65535)))
    for tag, value in ((0x00280010, rows), (0x00280011, cols)):
        whole = whole.put(whole.encode(tag, b"US", struct.pack(f"{whole.order}H", value)), tag)
    body, at = bytearray(whole.body), whole.find(PIXEL_DATA).value
    siz = body.find(b"\xff\x4f\xff\x51", at)
    if siz >= 0:
        struct.pack_into(">II", body, siz + 8, cols, rows)
        if rng.random() < 0.5:
            struct.pack_into(">II", body, siz + 24, cols, rows)  # one tile
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7"):
        frame = body.find(marker, at)
        if siz < 0 <= frame < at + 400:
            struct.pack_into(">HH", body, frame + 5, rows, cols)
    return whole.with_body(bytes(body)).bytes()


def _member(name: str, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return a member without the time of day, which zipfile puts in by itself: a seed must make the same bytes."""
    member = zipfile.ZipInfo(name)
    member.compress_type = archive.compression
    return member


def zipped(whole: _Object, rng: random.Random) -> bytes:
    """A zip file that is damaged, or meant to do damage."""
    data, buffer = whole.bytes(), io.BytesIO()
    how = rng.randrange(8)
    with zipfile.ZipFile(buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        if how == 0:  # bomb: a thousand to one
            archive.writestr(_member("SECRET.dcm", archive), bytes(20 * MIB), zipfile.ZIP_DEFLATED)
        elif how == 1:  # slip
            for name in ("../../../SECRET.dcm", "/tmp/SECRET.dcm", "..\\..\\SECRET.dcm", "C:\\SECRET.dcm"):
                archive.writestr(_member(name, archive), data)
        elif how == 2:  # a link, as far as zip files know them
            link = zipfile.ZipInfo("SECRET")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
        elif how == 3:  # a zip in a zip, and an index of nothing
            archive.writestr(_member("SECRET.zip", archive), buffer.getvalue() or data)
            archive.writestr(_member("DICOMDIR", archive), data[:300])
        else:
            archive.writestr(_member("SECRET/Doe.dcm", archive), data)
            archive.writestr(_member("SECRET/\N{SNOWMAN}.dcm", archive), data[: rng.randrange(len(data))])
    made = buffer.getvalue()
    if how == 4:
        return made[: rng.randrange(4, len(made))]
    if how == 5:
        return made[:4] + _flip(made[4:], rng, 0, len(made) - 4)
    if how == 6:  # sizes in the central directory: a bomb by word, not by content
        body, at = bytearray(made), made.rindex(b"PK\x01\x02")
        struct.pack_into("<II", body, at + 20, rng.choice((0, 1, 0x7FFFFFFF)), rng.choice((0, 0xFFFFFFFE, 0x1FFFFFFF)))
        return bytes(body)
    if how == 7:  # encrypted, or of an unknown method
        body, at = bytearray(made), made.index(b"PK\x01\x02")
        body[at + rng.choice((8, 10))] ^= rng.choice((1, 99))
        return bytes(body)
    return made


def _flip(data: bytes, rng: random.Random, start: int, end: int) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        changed[rng.randrange(start, max(end, start + 1))] ^= 1 << rng.randrange(8)
    return bytes(changed)


_KINDS = (
    sound, truncated, header_bits, pixel_bits, codestream_head_bits, encapsulation_bits, overwritten, swapped_lengths,
    huge_length, huge_item, absurd_numbers, wrong_modality, wrong_transfer_syntax, odd_text, hostile_sequence,
    grey_scale, noise, shuffled, meta_bits, truncated, pixel_bits, header_bits, codestream_head_bits,
)  # fmt: skip
_BOMBS = (deflate_bomb, size_bomb)
