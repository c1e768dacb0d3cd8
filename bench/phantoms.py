"""Phantom studies for the pipeline's cases, all in one transfer syntax.

python -m bench.phantoms DATA --studies 40 --syntax jpeg-lossless
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1

from mammofast.phantom.dicom import derived_uid, sop_uid, study_uid, write_image
from mammofast.phantom.display import Display
from mammofast.phantom.encode import SYNTAXES
from mammofast.phantom.plan import PlannedView, plan_studies

# Studies are the first ones of one set, so that cases of any size share files.
SET = 40
# No seed of training, of the tests or of the README: nothing is tuned to these.
SEED = 20_260
# The stream that phantoms take their display from, so that only the transfer syntax differs from the usual phantoms.
DISPLAY_STREAM = 2
LARGEST = (4096, 3328)
SYNTAX: dict[str, UID] = {"jpeg-2000": JPEG2000Lossless, "jpeg-lossless": JPEGLosslessSV1}


def write_phantoms(
    data: Path, studies: int, syntax: str = "jpeg-2000", shape: tuple[int, int] | None = None
) -> list[Path]:
    """Write studies below ``data``, one folder each, all images in one transfer syntax; return the studies' folders.

    studies: the first ones of ``SET``. syntax: a name in ``SYNTAX``. shape: only studies whose images have it.
    What is there already is kept: an image's UID names all that its pixels depend on.
    """
    plan = [v for v in plan_studies(SET, SEED) if shape in (None, (v[0].detector.rows, v[0].detector.cols))]
    if not 0 < studies <= len(plan):
        raise ValueError(f"studies: got {studies}, expected 1 to {len(plan)}")
    out = data / syntax
    missing = [view for views in plan[:studies] for view in views if not _path(out, view).exists()]
    if missing:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(mp_context=context) as pool:
            list(pool.map(partial(_write, out, syntax), missing))
    return [out / study_uid(views[0]) for views in plan[:studies]]


def write_copies(data: Path, studies: list[Path], times: int) -> list[Path]:
    """Write studies some times over, each time under other UIDs, so that sets of any size are of the same images."""
    folders = []
    for number in range(times):
        for study in studies:
            folder = data / f"copies-of-{study.parent.name}" / f"{study.name}-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            folders.append(folder)
            for path in sorted(study.glob("*.dcm")):
                if not (folder / path.name).exists():
                    _write_copy(path, folder / path.name, number)
    return folders


def _write_copy(path: Path, copy: Path, number: int) -> None:
    image = dcmread(path)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        image[keyword].value = derived_uid("copy", image[keyword].value, number)
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    partial_copy = copy.with_suffix(".part")
    image.save_as(partial_copy)
    partial_copy.rename(copy)


def _path(out: Path, view: PlannedView) -> Path:
    return out / study_uid(view) / f"{sop_uid(view)}.dcm"


def _write(out: Path, syntax: str, planned: PlannedView) -> None:
    display = Display.draw(planned.stream(DISPLAY_STREAM))
    pixels = display.store(planned.draw().render())
    if planned.side == "R":
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    path = _path(out, planned)
    unfinished = path.with_suffix(".part")
    encoding = next(encoding for encoding in SYNTAXES if encoding.uid == SYNTAX[syntax])
    write_image(unfinished, planned, pixels, display, encoding)
    unfinished.rename(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--studies", type=int, default=SET)
    parser.add_argument("--syntax", choices=SYNTAX, default="jpeg-2000")
    arguments = parser.parse_args()
    write_phantoms(arguments.data, arguments.studies, arguments.syntax)
