"""Sets of DCE-MRI studies on disk: DICOM, the breast region, and what each mass is."""

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from mammofast.errors import PhantomError
from mammofast.machine import cores
from mammofast.phantom.dce_mri.case import Case, draw_case
from mammofast.phantom.dce_mri.dicom import identify, study_uid, write_classic
from mammofast.phantom.dce_mri.enhanced import write_enhanced
from mammofast.phantom.dce_mri.plan import PlannedCase, plan_cases
from mammofast.phantom.plan import Purpose


def make_case(seed: int, *, study: int = 0, studies: int = 1) -> Case:
    """Make one case of a set that ``write_studies`` would write, without writing it.

    Raises
    ------
    ValueError
        When the set has no such case.

    """
    if not 0 <= study < studies:
        raise ValueError(f"study: got {study}, expected 0 to {studies - 1}, as there are {studies} studies")
    return draw_case(plan_cases(studies, seed)[study])


def write_studies(
    out: str | Path,
    studies: int,
    seed: int,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Write DCE-MRI studies of both breasts: the same seed gives the same bytes on one kind of processor.

    Files: ``out/dicom/<StudyInstanceUID>/<SOPInstanceUID>.dcm``, single-frame MR objects, and of every fourth case one
    enhanced object. Truth of a case bears the name of its first slice's object in its first phase, as an archive names
    volumes: ``out/truth/<SOPInstanceUID>.npy``, uint8 labels (slices, rows, cols), slices rising towards the head, 0
    outside the breasts, 1 breast, 1 + k mass k; and ``.json``, what the masses are
    (:func:`mammofast.phantom.dce_mri.case.draw_case`).

    Parameters
    ----------
    out: a folder; what an earlier, perhaps unfinished, run wrote of the same set is written over.
    studies, seed: how many, and which. workers: processes; all cores when None.
    progress: called with the number of cases just written.

    Returns
    -------
    The names of truth, in the order of the plan.

    Raises
    ------
    PhantomError
        When the folder holds images or truth of another set: measured together they would be neither.

    """
    out = Path(out)
    planned = plan_cases(studies, seed, Purpose.STUDIES)
    _refuse_strangers(out, planned)
    workers = min(workers or cores(), max(len(planned), 1))
    advance = progress or (lambda _: None)
    if workers == 1:
        for case in planned:
            _write(out, case)
            advance(1)
    else:
        # Spawned, not forked: the caller may have threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for _ in pool.map(_write, [out] * len(planned), planned):
                advance(1)
    return [identify(case).sop_uid for case in planned]


def _refuse_strangers(out: Path, planned: list[PlannedCase]) -> None:
    studies = {study_uid(case) for case in planned}
    truth = {identify(case).sop_uid for case in planned}
    strangers = [path for path in out.glob("dicom/*") if path.name not in studies]
    strangers += [path for path in out.glob("truth/*") if path.stem not in truth]
    if strangers:
        raise PhantomError(
            f"{out}: holds {len(strangers)} studies or truth files of another set of phantoms, or of another version; "
            "expected a new folder, or one of the same kind, seed and number of studies: give another folder or "
            "remove this one"
        )


def _write(out: Path, planned: PlannedCase) -> None:
    case = draw_case(planned)
    if planned.protocol.enhanced:
        write_enhanced(out / "dicom", planned, case.grid, case.phases)
    else:
        write_classic(out / "dicom", planned, case.grid, case.phases)
    names = identify(planned)
    truth = {
        "study_uid": names.study_uid,
        "series_uid": names.series_uid,
        "sop_uid": names.sop_uid,
        "shape": list(case.grid.shape),
        "spacing": list(case.grid.spacing),
        "times": list(planned.protocol.times),
        "masses": list(case.masses),
    }
    path = out / "truth" / names.sop_uid
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path.with_name(f"{path.name}.npy"), case.labels, allow_pickle=False)
    path.with_name(f"{path.name}.json").write_text(json.dumps(truth, indent=1) + "\n")
