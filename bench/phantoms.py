"""Phantom studies for the pipeline's cases, all in one transfer syntax or in all of them.

python -m bench.phantoms DATA --studies 40
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from pydicom.uid import JPEG2000Lossless

from mammofast.phantom.dicom import sop_uid, study_uid, write_image
from mammofast.phantom.display import Display
from mammofast.phantom.encode import SYNTAXES
from mammofast.phantom.plan import PlannedView, plan_studies

# Studies are the first ones of one set, so that cases of any size share files.
SET = 40
# No seed of training, of the tests or of the README: nothing is tuned to these.
SEED = 20_260
# The stream that phantoms take their display from, so that only the transfer syntax differs from the usual phantoms.
DISPLAY_STREAM = 2
JPEG_2000 = next(syntax for syntax in SYNTAXES if syntax.uid == JPEG2000Lossless)


def write_jpeg2000_studies(out: Path, studies: int, workers: int | None = None) -> list[Path]:
    """Write studies into ``out``, one folder each, all images in JPEG 2000 Lossless; return the studies' folders.

    studies: at most ``SET``. What is there already is kept: an image's UID names all that its pixels depend on.
    """
    if not 0 < studies <= SET:
        raise ValueError(f"studies: got {studies}, expected 1 to {SET}")
    plan = plan_studies(SET, SEED)[:studies]
    folders = [out / study_uid(views[0]) for views in plan]
    missing = [view for views in plan for view in views if not _path(out, view).exists()]
    if missing:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            list(pool.map(_write, [out] * len(missing), missing))
    return folders


def _path(out: Path, view: PlannedView) -> Path:
    return out / study_uid(view) / f"{sop_uid(view)}.dcm"


def _write(out: Path, planned: PlannedView) -> None:
    display = Display.draw(planned.stream(DISPLAY_STREAM))
    pixels = display.store(planned.draw().render())
    if planned.side == "R":
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    path = _path(out, planned)
    partial = path.with_suffix(".part")
    write_image(partial, planned, pixels, display, JPEG_2000)
    partial.rename(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--studies", type=int, default=SET)
    arguments = parser.parse_args()
    write_jpeg2000_studies(arguments.data, arguments.studies)
