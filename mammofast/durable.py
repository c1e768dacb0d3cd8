"""What was written, made to outlast a power cut: until its folder is on the disk too, a new name may be gone again."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Return when a file's bytes, or a folder's names, are on the disk.

    Raises
    ------
    OSError
        When they cannot be put there, for one because the disk is full.

    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those missing above it; return when their names are on the disk."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync_tree(folder: Path) -> None:
    """The same for everything in a folder, and the folder itself; not for its name in the folder above."""
    for root, _, files in os.walk(folder, topdown=False, onerror=_fail):
        for name in files:
            sync(Path(root, name))
        sync(Path(root))


def _fail(error: OSError) -> None:
    """Raise what os.walk would pass over: a folder that cannot be listed is not on the disk yet."""
    raise error
