"""A mask as run lengths: the bytes that results keep.

Pixels are taken row by row. The runs alternate, the first one is of False and may be empty, and each length is an
unsigned LEB128 number (7 bits a byte, low bits first, the top bit says that more follow). No general compressor: its
output may change with its version, and equal masks must give equal bytes on every machine.
"""

import numpy as np
import numpy.typing as npt

# Enough for a run of 2**63 - 1 pixels.
_MAX_BYTES = 9


def encode_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """Return the run lengths of a bool mask (rows, cols); a mask without pixels gives no bytes."""
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"mask: got {mask.dtype} of shape {mask.shape}, expected bool (rows, cols)")
    flat = mask.ravel()
    if flat.size == 0:
        return b""
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0] if flat[0] else []
    edges = np.concatenate([[0], first, changes, [flat.size]]).astype(np.int64)
    return _pack(np.diff(edges))


def decode_mask(encoded: bytes, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the bool mask (rows, cols) that ``encode_mask`` made these bytes of.

    Raises
    ------
    ValueError
        When the bytes are not run lengths, or not those of a mask of this shape.

    """
    rows, cols = shape
    lengths = _unpack(encoded)
    # Python's integers: a forged length must not wrap round to the right sum.
    if sum(lengths.tolist()) != rows * cols:
        raise ValueError(f"encoded: the runs do not add up to a mask of {rows} x {cols} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(rows, cols)


def _pack(lengths: npt.NDArray[np.int64]) -> bytes:
    thresholds = np.int64(1) << np.arange(7, 63, 7, dtype=np.int64)
    n_bytes = 1 + np.searchsorted(thresholds, lengths, side="right")
    ends = np.cumsum(n_bytes)
    out = np.zeros(int(ends[-1]), dtype=np.uint8)
    for k in range(int(n_bytes.max())):
        has = n_bytes > k
        more = n_bytes[has] > k + 1
        out[ends[has] - n_bytes[has] + k] = ((lengths[has] >> (7 * k)) & 0x7F) | (more.astype(np.int64) << 7)
    return out.tobytes()


def _unpack(encoded: bytes) -> npt.NDArray[np.int64]:
    data = np.frombuffer(encoded, dtype=np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if data.size == 0:
        return np.zeros(0, dtype=np.int64)
    if ends.size == 0 or ends[-1] != data.size - 1:
        raise ValueError("encoded: the bytes end within a run length")
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - starts + 1
    if int(sizes.max()) > _MAX_BYTES:
        raise ValueError(f"encoded: a run length takes more than {_MAX_BYTES} bytes")
    place = np.arange(data.size) - np.repeat(starts, sizes)
    lengths: npt.NDArray[np.int64] = np.add.reduceat((data & 0x7F).astype(np.int64) << (7 * place), starts)
    return lengths
