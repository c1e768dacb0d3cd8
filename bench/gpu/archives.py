"""Two archives of phantoms of 4096 x 3328: one of images that all differ, one of copies of them, for rates.

python -m bench.gpu.archives FOLDER --studies 10 --copies 10
"""

import argparse
import sys
from pathlib import Path

from bench.gpu.screening import COPIES, DISTINCT, MANY, STUDIES
from bench.phantoms import LARGEST, write_copies, write_phantoms
from mammofast.archive import ingest

_SMALL = (2294, 1914)


def main(arguments: list[str] | None = None) -> int:
    """Write the phantoms and ingest them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--copies", type=int, default=COPIES)
    parser.add_argument("--small", action="store_true", help="one study of the smallest detector's images, with masses")
    options = parser.parse_args(arguments)
    if options.small:
        archives = {DISTINCT: write_phantoms(options.folder, 2, shape=_SMALL)[-1:]}  # the first has no mass
    else:
        studies = write_phantoms(options.folder, options.studies, shape=LARGEST)
        archives = {DISTINCT: studies, MANY: write_copies(options.folder, studies, options.copies)}
    for name, paths in archives.items():
        print(f"{name}: {ingest(paths, options.folder / name)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
