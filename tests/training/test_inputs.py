"""What is learnt from is what is screened, to the bit."""

import imagecodecs
import numpy as np
import pytest

import mammofast
from mammofast.datasets import read_folder
from mammofast.errors import TrainingError
from mammofast.training.bundle import write_bundle
from mammofast.training.checkpoint import read_facts
from mammofast.training.inputs import inputs_of
from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task


def screened_rows(bundle, archive):
    """Return what the network is given when each image of an archive is screened, by SOP Instance UID."""
    rows = {}
    with mammofast.open_bundle(bundle) as screener:
        segmenter = screener._method._segmenter
        engine, given = segmenter._engine, []

        class Watched:
            def __getattr__(self, name):
                return getattr(engine, name)

            def run(self, inputs):
                given.append(inputs["image"].copy())
                return engine.run(inputs)

        segmenter._engine = Watched()
        for image in mammofast.open_archive(archive).images():
            given.clear()
            assert screener.screen_images([image])[0].error is None
            assert len(given) == 1, "one tile holds a tiny image"
            rows[image.record.sop_uid] = given[0][0]
    return rows


@pytest.mark.parametrize("name", ["p1-aspp-fc-densenet", "p2-aunet", "p3-fcn", "p3-unet", "p3-deeplabv3"])
def test_no_skew_between_training_and_screening(name, tiny, trained, archive, tmp_path):
    run, recipe = trained(name), tiny.recipe(name)
    write_bundle({"segmenter": run.out}, tmp_path / "bundle")
    screened = screened_rows(tmp_path / "bundle", archive)
    stage = recipe.stages[-1]
    task = make_task(recipe, stage)
    task.use(read_facts(run.weights)["stages"][stage.name]["fitted"])
    for sample in tiny.phantoms():
        (example,) = task.prepare(sample)
        (measured,) = task.batch([example], None, 0)
        seen = screened[sample.name]
        rows, cols = measured["image"].shape[2:]
        assert np.array_equal(measured["image"][0].numpy(), seen[:, :rows, :cols])
        if task._inputs.whole:
            learnt = task.batch([example], np.random.default_rng(0), 0)
            assert np.array_equal(learnt["image"][0].numpy(), seen)


def test_the_mean_that_is_subtracted_is_the_training_sets(tiny, trained):
    facts = read_facts(trained("p1-aspp-fc-densenet").weights)
    mean = facts["stages"]["train"]["fitted"]["mean"]
    assert facts["bundle"]["parameters"]["scaling"] == {"contrast": "minmax", "channels": 1, "mean": mean}
    task = make_task(recipe := tiny.recipe("p1-aspp-fc-densenet"), recipe.stages[0])
    digests = {digest["image"] for digest in facts["stages"]["train"]["training"]}
    assert len(digests) < len(tiny.phantoms()), "some images choose the epoch"
    greys = [task.prepare(sample)[0]["image"] for sample in tiny.phantoms() if _sha256(sample.image) in digests]
    assert mean == pytest.approx(np.concatenate(greys).mean(dtype=np.float64), rel=1e-12)


def _sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_are_the_training_sets(tiny, trained):
    facts = read_facts(trained("p1-aspp-fc-densenet").weights)["stages"]["train"]
    frequencies = facts["fitted"]["frequencies"]
    assert sum(frequencies) == pytest.approx(1)
    task = make_task(recipe := tiny.recipe("p1-aspp-fc-densenet"), recipe.stages[0])
    digests = {digest["image"] for digest in facts["training"]}
    truths = [task.prepare(sample)[0]["truth"] for sample in tiny.phantoms() if _sha256(sample.image) in digests]
    assert frequencies[1] == pytest.approx(np.mean(np.stack(truths) == 1), rel=1e-12)


def test_truth_lies_where_the_image_does(tmp_path):
    """A mass that alone is bright is the truth, pixel by pixel, whatever is cut off around the breast and resampled."""
    rng = np.random.default_rng(0)
    for k in range(5):
        rows, cols = rng.integers(150, 400, 2)
        image = np.zeros((rows, cols), np.uint16)
        mask = np.zeros((rows, cols), np.uint8)
        top, left = int(rng.integers(20, 60)), int(rng.integers(20, 60))
        image[10:-10, 5 : cols - 15] = 100
        mask[top : top + 40, left : left + 50] = 255
        image[mask > 0] = 1000
        for place, pixels in (("images", image), ("masks", mask)):
            (tmp_path / place).mkdir(exist_ok=True)
            (tmp_path / place / f"{k}.png").write_bytes(imagecodecs.png_encode(pixels))
    recipe = read_recipe("p2-aunet", {"network.sizes": [[96, 64]]})
    task = make_task(recipe, recipe.stages[0])
    for sample in read_folder(tmp_path):
        (example,) = task.prepare(sample)
        image, truth = example["image"][0], example["truth"]
        assert truth.shape == image.shape == (96, 64)
        # Where a pixel is of both, its centre decides; area-averaged grey says half.
        certain = np.abs(image - 0.55) > 0.4
        assert certain.mean() > 0.9
        assert np.array_equal((image > 0.5)[certain], truth[certain] == 1)


def test_a_recipe_for_another_method_is_refused():
    recipe = read_recipe("p2-aunet", {"bundle.method": "two_stage"})
    with pytest.raises(TrainingError, match="got method 'two_stage', this task trains for one of whole_image, tiled"):
        inputs_of(recipe, recipe.stages[0])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"examples.crop": [32, 32]}, "whole images are learnt from; leave crop"),
        ({"examples.zoom": 2}, "unknown entries"),
        ({"augmentation.flip": "yes"}, "expected bool"),
        ({"loss.name": "hinge"}, "stage 'cbis-ddsm': loss: name"),
    ],
)
def test_tables_that_are_wrong(changes, words):
    recipe = read_recipe("p2-aunet", changes)
    with pytest.raises(TrainingError, match=words):
        make_task(recipe, recipe.stages[0])
