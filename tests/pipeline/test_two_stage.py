"""P4's method through the pipeline in threads: to the bit what a screener gives."""

import numpy as np
import pytest

import mammofast
from mammofast.archive import ingest
from mammofast.errors import Reason
from mammofast.methods.arrays import ArrayImage
from mammofast.methods.screener import open_bundle
from mammofast.phantom import write_studies
from mammofast.pipeline import Budget, Flow, Hold
from mammofast.settings import Settings


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Phantoms of an archive, and arrays: one without a breast, one whose read fails."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_studies(folder, studies=2, seed=20_260)
    ingest([folder / "dicom"], folder / "archive.zarr")
    archived = list(mammofast.open_archive(folder / "archive.zarr").images())
    return [*archived, ArrayImage(np.zeros((900, 700), np.uint16))]


class Torn(ArrayImage):
    def read(self, level=0, window=None):
        raise OSError("Doe^Jane")


def in_threads(screener, images, **changes):
    """Screen by a pipeline over the method's own stages."""
    stages = screener._method.stages()
    budget = Budget(40_000_000)
    with Flow(stages, [Hold(budget, lambda image: image.shape[0] * image.shape[1] * 2)]) as flow:
        found = flow.results(images)
    assert budget.taken == 0
    assert 0 < budget.peak <= budget.total
    return found


@pytest.mark.parametrize("batches", [(1, 1), (3, 4)])
def test_findings_are_those_of_the_screener_to_the_bit(images, batches):
    settings = Settings(detection_batch=batches[0], segmentation_batch=batches[1])
    with open_bundle("demo", settings=settings) as screener:
        alone = [screener.screen_images([image])[0] for image in images]
        outcomes = in_threads(screener, images)
    assert [outcome.error for outcome in outcomes] == [None] * len(images)
    assert [outcome.item for outcome in outcomes] == alone
    assert sum(len(result.findings) for result in alone) >= 2
    for outcome, result in zip(outcomes, alone, strict=True):
        assert outcome.item.detections.tobytes() == result.detections.tobytes()


def test_an_image_that_fails_fails_the_same_way(images):
    mixed = [images[0], Torn(np.ones((900, 700), np.uint16)), images[1]]
    with open_bundle("demo") as screener:
        expected = screener.screen_images(mixed)
        outcomes = in_threads(screener, mixed)
    assert [outcome.error for outcome in outcomes] == [result.error for result in expected]
    assert expected[1].error == f"{Reason.INTERNAL}: OSError"
    assert [outcomes[i].item for i in (0, 2)] == [expected[i] for i in (0, 2)]
