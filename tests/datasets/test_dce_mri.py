"""Whose the volumes of a data set are."""

import numpy as np

from mammofast.archive import ingest, open_archive
from mammofast.datasets import folds, read_dce_mri
from tests.archive.volumes.series import Series, uid

# Of each study; two women have several.
PATIENTS = {1: "Anna", 2: "Berta", 3: "Anna", 4: "", 5: "", 6: "Berta", 7: "Anna "}


def test_studies_of_one_patient_are_kept_together_and_nothing_says_who_that_is(tmp_path):
    for study, patient in PATIENTS.items():
        series = Series.draw(phases=2, slices=2, seed=study, study=study, attributes={"PatientID": patient})
        series.write(tmp_path / "dicom" / str(study))
    ingest(tmp_path / "dicom", tmp_path / "archive.zarr")
    (tmp_path / "truth").mkdir()
    for volume in open_archive(tmp_path / "archive.zarr").volumes():
        np.save(tmp_path / "truth" / f"{volume.record.sop_uid}.npy", np.ones(volume.shape, np.uint8))
    broken = next(v for v in open_archive(tmp_path / "archive.zarr").volumes() if v.record.study_uid == uid(5))
    (broken.folder / "header" / "zarr.json").write_text("{")
    data = read_dce_mri(tmp_path)
    patients = {sample.archived.record.study_uid: sample.patient for sample in data}
    first = {1: 1, 2: 2, 3: 1, 4: 4, 5: 5, 6: 2, 7: 1}
    assert patients == {uid(study): uid(of) for study, of in first.items()}
    for split in folds(data, 2):
        whose = {sample.name: sample.patient for sample in data}
        assert not {whose[name] for name in split.train} & {whose[name] for name in split.test}
