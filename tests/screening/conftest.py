"""Real archives of small images, and bundles whose networks find what is bright."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from mammofast.archive import ingest
from mammofast.screening import screen
from tests.methods.conftest import write_bundle
from tests.screening import runs

HERE = Path(__file__).parent
MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"


def load(path):
    """Import a file of the tests that is no package; worker processes find it by the same name."""
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    return sys.modules[path.stem]


def bright_pixels(seed):
    """A dim image with 0 to 2 bright ellipses, and its truth labels."""
    rng = np.random.default_rng(seed)
    rows, cols = 700 + 30 * (seed % 3), 500
    pixels = rng.integers(200, 900, (rows, cols))
    truth = np.zeros((rows, cols), np.uint8)
    y, x = np.ogrid[:rows, :cols]
    for label in range(1, 1 + seed % 3):
        inside = ((x - 120 - 60 * label) / 50) ** 2 + ((y - 200 * label) / 60) ** 2 <= 1
        pixels[inside] = 3900 + rng.integers(0, 100, int(inside.sum()))
        truth[inside] = label
    return pixels.astype(np.uint16), truth


def write_dicom(path, pixels, study="1.2.3", instance="1.2.3.4", intent="FOR PRESENTATION", sop_class=MAMMOGRAPHY):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = instance
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.9"
    ds.PatientName, ds.PatientID = "Doe^Jane", "SECRET-77"
    ds.Modality, ds.ImageLaterality, ds.ViewPosition = "MG", "L", "CC"
    ds.PresentationIntentType = intent
    ds.ImagerPixelSpacing = [0.1, 0.2]
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def make_archive(folder, images=6, **changes):
    """Write images of two a study, ingest them and return the archive's path."""
    for seed in range(images):
        pixels, _ = bright_pixels(seed)
        study = f"1.2.{seed // 2 + 1}"
        write_dicom(folder / "dicom" / f"{seed}.dcm", pixels, study, f"{study}.{seed}.1", **changes)
    ingest([folder / "dicom"], folder / "archive.zarr", workers=1)
    return folder / "archive.zarr"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def make_bundle():
    return write_bundle


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Six images of three studies, with 0, 1 and 2 bright ellipses; not to be changed."""
    return make_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def private_bundle(bundle, tmp_path):
    """The same bundle in a folder that a test may write to."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def undisturbed(archive, bundle, tmp_path_factory):
    """What a run that nothing disturbs leaves."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    screen(archive, results, bundle, workers=1, images_per_task=1)
    return runs.snapshot(results)


@pytest.fixture
def new_archive(tmp_path):
    def make(images=2, **changes):
        return make_archive(tmp_path / "source", images, **changes)

    return make


@pytest.fixture
def fakes():
    """The screeners of ``fake_screeners.py``, which worker processes can import too."""
    sys.path.insert(0, str(HERE))
    yield load(HERE / "fake_screeners.py")
    sys.path.remove(str(HERE))


def snapshot(results):
    """Every file of a results folder's images, with its bytes."""
    return {str(p.relative_to(results)): p.read_bytes() for p in sorted(Path(results).glob("images/*/*"))}
