"""Which objects a study gives, how they refer to one another, and where they are written."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

from pydicom import Dataset

from mammofast.archive import open_archive
from mammofast.archive.patients import patient_of
from mammofast.archive.quiet import quiet
from mammofast.report.dicom import cad_sr, gsps, picture, seg, tid1500
from mammofast.report.dicom.burned_in import may_show_a_name
from mammofast.report.dicom.references import Reference
from mammofast.report.dicom.study import StudyImage, StudyResults, choose_run, studies
from mammofast.report.dicom.volumes import seg as volume_seg
from mammofast.screening import open_results
from mammofast.screening.files import make_folder, write_once, write_over

_OF_IMAGES: Mapping[str, Callable[[StudyResults, StudyImage], Dataset | None]] = MappingProxyType(
    {seg.KIND: seg.segmentation, gsps.KIND: gsps.presentation_state, picture.KIND: picture.picture}
)
_OF_STUDIES: Mapping[str, Callable[[StudyResults, Sequence[Reference]], Dataset | None]] = MappingProxyType(
    {
        tid1500.KIND: tid1500.measurement_report,
        cad_sr.KIND: lambda study, _: cad_sr.cad_sr(study) if study.images else None,
    }
)
KINDS = (*_OF_STUDIES, *_OF_IMAGES)
# What is defined for mammograms only; a volume has none of them.
OF_MAMMOGRAMS = (cad_sr.KIND, gsps.KIND, picture.KIND)


@dataclass(slots=True)
class ExportReport:
    """What an export did.

    written, unchanged: files, new or there already with the same bytes. objects: how many of each kind.
    withheld: pictures left out because who the patient is may stand in them.
    mixed_studies: left out because their images name several patients, and an object can be filed under one only.
    volumes: how many volumes the studies have.
    """

    studies: int = 0
    written: list[Path] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)
    objects: Counter[str] = field(default_factory=Counter)
    withheld: int = 0
    mixed_studies: int = 0
    volumes: int = 0


def study_objects(
    study: StudyResults, kinds: Sequence[str], keep: Callable[[Dataset], bool] = lambda dataset: True
) -> Iterator[tuple[str, Dataset]]:
    """Yield a study's objects with their kinds: first those of images and volumes, then the reports, which name them.

    A volume's segmentation comes with a measurement report too: its segments are the report's regions.

    keep: says of an image's object whether it is wanted; one that is not is not named either.
    """
    references = []
    for kind in (kind for kind in _OF_IMAGES if kind in kinds):
        for image in study.images:
            dataset = _OF_IMAGES[kind](study, image)
            if dataset is not None and keep(dataset):
                references.append(Reference.to_object(dataset))
                yield kind, dataset
    if {seg.KIND, tid1500.KIND} & set(kinds):
        for volume in study.volumes:
            dataset = volume_seg.segmentation(study, volume)
            if dataset is not None:
                references.append(Reference.to_object(dataset))
                yield seg.KIND, dataset
    for kind in (kind for kind in _OF_STUDIES if kind in kinds):
        dataset = _OF_STUDIES[kind](study, references)
        if dataset is not None:
            yield kind, dataset


def export(
    results: str | Path,
    out: str | Path,
    kinds: Sequence[str],
    *,
    archive: str | Path | None = None,
    bundle_id: str | None = None,
    settings_id: str | None = None,
    deidentify: Callable[[Dataset], Dataset] | None = None,
    progress: Callable[[int], object] = lambda n: None,
) -> ExportReport:
    """Write a run's objects as ``out/<Study Instance UID>/<SOP Instance UID>.dcm``; a rerun changes nothing.

    Parameters
    ----------
    results: a results folder. out: a folder, made where it is missing.
    kinds: out of ``KINDS``.
    archive: where the archive is now; by default where it was when it was screened.
    bundle_id, settings_id: which run; needed where there are several.
    deidentify: what makes a de-identified copy of an object.
    progress: called with the number of studies just written.

    Raises
    ------
    ResultsError
        When ``results`` is no results folder, or has several runs and none is named, or a file cannot be written.
    ArchiveError
        When the archive is not there: patient and study are taken from it.

    """
    opened = open_results(results)
    run = choose_run(opened, bundle_id, settings_id)
    report = ExportReport()

    def keep(dataset: Dataset) -> bool:
        withheld = deidentify is not None and may_show_a_name(dataset)
        report.withheld += withheld
        return not withheld

    with quiet():
        for study in studies(opened, open_archive(archive or opened.archive_path), run):
            if len({patient_of(image.header) for image in study.outcomes}) > 1:
                report.mixed_studies += 1
                progress(1)
                continue
            for kind, dataset in study_objects(study, kinds, keep):
                written = dataset if deidentify is None else deidentify(dataset)
                path = Path(out) / str(written.StudyInstanceUID) / f"{written.SOPInstanceUID}.dcm"
                (report.written if _put(path, written) else report.unchanged).append(path)
                report.objects[kind] += 1
            report.studies += 1
            report.volumes += len(study.volumes)
            progress(1)
    return report


def _put(path: Path, dataset: Dataset) -> bool:
    """Write an object whole; False where the same bytes are there already."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    if not path.parent.is_dir():
        make_folder(path.parent)
    if write_once(path, content):
        return True
    if path.read_bytes() == content:
        return False
    write_over(path, content)  # damaged, or of a program that counts otherwise
    return True
