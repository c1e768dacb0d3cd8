"""The measure of a bundle on phantoms in memory is the measure of results on disk."""

import numpy as np
import pytest

from mammofast import ops
from mammofast.archive.ingest import ingest
from mammofast.evaluation import evaluate, label_boxes
from mammofast.phantom import make_image, write_studies
from mammofast.phantom.plan import plan_studies
from mammofast.records import GreyPipeline, ImageSource
from mammofast.screening import screen
from mammofast.training.measure import PhantomImage, measure

# Of objects on disk some are compressed with loss; this study has no finding on the brink, there in the one alone.
SEED = 14


@pytest.fixture(scope="module")
def views():
    return plan_studies(1, SEED)[0]


def test_a_phantom_in_memory_is_the_one_on_disk(views):
    image = PhantomImage.make(views[0])
    assert isinstance(image, ImageSource)
    pixels, truth = make_image(SEED)
    np.testing.assert_array_equal(image.read(), pixels)
    np.testing.assert_array_equal(image.truth, truth)
    np.testing.assert_array_equal(image.read(2, (3, 5, 90, 40)), ops.pool(pixels, [2])[0][5:40, 3:90])
    # Whatever the photometric interpretation, air is what shows darkest, and the first pixel opposite the chest wall.
    shown = image.grey_table(GreyPipeline()).apply(pixels)
    assert shown[0, -1] == shown.min() < shown.max()


def test_it_measures_what_evaluate_does(views, tmp_path):
    write_studies(tmp_path, 1, SEED, workers=1)
    ingest([tmp_path / "dicom"], tmp_path / "archive.zarr", workers=1)
    screen(tmp_path / "archive.zarr", tmp_path / "results", "demo", workers=1)
    on_disk = evaluate(tmp_path / "results", tmp_path / "truth")
    counted = []
    in_memory = measure("demo", views, counted.append)
    assert counted == [1] * 4
    assert in_memory.images == on_disk["n_images"] == 4
    assert in_memory.masses == on_disk["n_masses"] == sum(len(label_boxes(PhantomImage.make(v).truth)) for v in views)
    for name in ("sensitivity", "fp_per_image", "dice_mean"):
        assert getattr(in_memory, name) == pytest.approx(on_disk[name], abs=0.01), name
    assert in_memory.sensitivity_at_limit <= in_memory.sensitivity
