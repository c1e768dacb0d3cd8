"""How this process's memory allocator behaves."""

import ctypes

# mallopt(3). Arrays from 4 MiB up get pages of their own, which go back when they are freed.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_OWN_PAGES = 4 << 20
# What is smaller is handed out again: giving all of it back costs a tenth of ingest's time in page faults.
_KEPT = 64 << 20


def keep_memory_flat() -> None:
    """Make glibc give large blocks back to the system; elsewhere, do nothing.

    By itself glibc raises its threshold to the size of what is freed. Images then share heaps with small blocks, and
    heaps with holes in them grow for as long as a night lasts. For programs only: it is the whole process's.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
