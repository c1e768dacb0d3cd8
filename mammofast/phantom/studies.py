"""Sets of four-view studies on disk: DICOM, truth masks, and what each mass is."""

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from mammofast.errors import PhantomError
from mammofast.machine import cores
from mammofast.phantom.dicom import sop_uid, study_uid, write_image
from mammofast.phantom.display import Display
from mammofast.phantom.encode import SYNTAXES
from mammofast.phantom.plan import PlannedView, Purpose, plan_studies
from mammofast.records import tight_box

# Streams of a view's own generator: 0 draws it, 1 belongs to training.
DISPLAY_STREAM, SYNTAX_STREAM = 2, 3


def make_image(
    seed: int, *, study: int = 0, side: str = "L", view: str = "CC", studies: int = 1
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Make one view of a set that ``write_studies`` would write, without writing it.

    Returns
    -------
    pixels: stored values uint16 (rows, cols), MONOCHROME1 or 2 as the view's display draws it.
    truth: uint8 (rows, cols), 0 none, k the breast's k-th mass.

    Raises
    ------
    ValueError
        When the set has no such view.

    """
    plan = plan_studies(studies, seed)
    chosen = [v for views in plan[study : study + 1] for v in views if (v.side, v.view) == (side, view)]
    if not chosen:
        raise ValueError(
            f"study, side, view: got {study}, {side!r}, {view!r}; expected a study below {studies}, 'L' or 'R', "
            "'CC' or 'MLO'"
        )
    pixels, truth, _ = _make(chosen[0])
    return pixels, truth


def write_studies(
    out: str | Path,
    studies: int,
    seed: int,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Write studies of L and R, CC and MLO: the same seed gives the same bytes on one kind of processor.

    Files: ``out/dicom/<StudyInstanceUID>/<SOPInstanceUID>.dcm``; ``out/truth/<SOPInstanceUID>.png`` (8-bit, native
    size, 0 none, k the breast's k-th mass); ``out/truth/masses.json`` (each mass in each view: shape, margin,
    contrast to noise, native box).

    Parameters
    ----------
    out: a folder; what an earlier, perhaps unfinished, run wrote of the same set is written over.
    studies, seed: how many, and which. workers: processes; all cores when None.
    progress: called with the number of images just written.

    Returns
    -------
    The SOP Instance UIDs, in the order of the plan.

    Raises
    ------
    PhantomError
        When the folder holds images or truth of another set: measured together they would be neither.

    """
    out = Path(out)
    planned = [view for views in plan_studies(studies, seed, Purpose.STUDIES) for view in views]
    _refuse_strangers(out, {sop_uid(view) for view in planned})
    workers = min(workers or cores(), max(len(planned), 1))
    advance = progress or (lambda _: None)
    masses: list[dict[str, Any]] = []
    if workers == 1:
        for view in planned:
            masses += _write(out, view)
            advance(1)
    else:
        # Spawned, not forked: the caller may have threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for written in pool.map(_write, [out] * len(planned), planned):
                masses += written
                advance(1)
    (out / "truth").mkdir(parents=True, exist_ok=True)
    (out / "truth" / "masses.json").write_text(json.dumps(masses, indent=1) + "\n")
    return [sop_uid(view) for view in planned]


def _refuse_strangers(out: Path, ours: set[str]) -> None:
    present = [*out.glob("truth/*.png"), *out.glob("dicom/**/*.dcm")]
    strangers = len({path.stem for path in present} - ours)
    if strangers:
        raise PhantomError(
            f"{out}: holds {strangers} images of another set of phantoms, or of another version; expected a new "
            "folder, or one of the same seed and number of studies: give another folder or remove this one"
        )


def _make(planned: PlannedView) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8], Display]:
    view = planned.draw()
    display = Display.draw(planned.stream(DISPLAY_STREAM))
    pixels, truth = display.store(view.render()), view.truth()
    if planned.side == "R":
        pixels, truth = np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(truth[:, ::-1])
    return pixels, truth, display


def _write(out: Path, planned: PlannedView) -> list[dict[str, Any]]:
    pixels, truth, display = _make(planned)
    name = sop_uid(planned)
    syntax = SYNTAXES[planned.stream(SYNTAX_STREAM).integers(len(SYNTAXES))]
    write_image(out / "dicom" / study_uid(planned) / f"{name}.dcm", planned, pixels, display, syntax)
    path = out / "truth" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(truth, level=1))
    return [
        {
            "sop_uid": name,
            "mass": k,
            "shape": mass.shape,
            "margin": mass.margin,
            "contrast_to_noise": round(mass.cnr, 3),
            "subtle": mass.subtle,
            "box": tight_box(truth == k),
        }
        for k, mass in enumerate(planned.masses, start=1)
    ]
