"""Drawn phantoms are what phantoms on disk would be, and examples of them show a mass where their boxes say."""

import numpy as np
import pytest
from scipy import stats

from mammofast.datasets.images import source_of
from mammofast.phantom.plan import Mix, Purpose, plan_studies
from mammofast.records import GreyPipeline, ImageSource
from mammofast.training.phantoms import draw_phantoms, mass_boxes
from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task
from mammofast.training.two_stage import Subject, method_parameters


@pytest.fixture(scope="module")
def data():
    return draw_phantoms(2, 5, Purpose.TRAINING, Mix(1.0, 0.5, 0.0))


def of_method():
    recipe = read_recipe("demo-detector")
    return method_parameters(recipe, recipe.stages[0])


def task_of(name):
    recipe = read_recipe(name)
    return make_task(recipe, recipe.stages[0])


def test_a_study_is_a_patient_of_four_views(data):
    assert len(data) == 8
    assert len({sample.name for sample in data}) == len({sample.fingerprint() for sample in data}) == 8
    assert [len({s.patient for s in data.samples[k : k + 4]}) for k in (0, 4)] == [1, 1]
    assert data.samples[0].patient != data.samples[4].patient


def test_fingerprints_are_of_all_that_pixels_depend_on():
    def prints(*arguments):
        return {sample.fingerprint() for sample in draw_phantoms(*arguments)}

    mix = Mix(1.0, 0.5, 0.0)
    first = prints(2, 5, Purpose.TRAINING, mix)
    assert first == prints(2, 5, Purpose.TRAINING, mix)
    for other in [
        (2, 6, Purpose.TRAINING, mix),
        (2, 5, Purpose.VALIDATION, mix),
        (2, 5),
        (3, 5, Purpose.TRAINING, mix),
    ]:
        assert not first & prints(*other)


def test_as_an_image_of_any_data_set_it_is_what_is_shown(data):
    """Whatever reads samples without knowing phantoms, an image recipe for one, sees dense tissue bright."""
    for sample in data.samples[:3]:
        drawn, image = sample.source(), source_of(sample)
        table = image.grey_table(GreyPipeline())
        shown = image.read() if table is None else table.apply(image.read())
        expected = drawn.grey_table(GreyPipeline()).apply(drawn.read())
        # In units of its own: methods window what they read.
        one, other = ((values - values.min()) / np.ptp(values) for values in (shown, expected))
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_an_image_is_its_plans(data):
    sample = data.samples[0]
    source, view = sample.source(), sample.planned.draw()
    assert isinstance(source, ImageSource)
    assert source.shape == (view.detector.rows, view.detector.cols) == sample.masses(source.shape).shape
    np.testing.assert_array_equal(sample.masses(source.shape), view.truth())
    table = source.grey_table(GreyPipeline())
    coarse, window = table.apply(source.read(level=2)), table.apply(source.read(window=(0, 100, 300, 400)))
    assert coarse.shape == view.coarse().shape
    assert window.shape == (300, 300)
    # Both show the same place, as finely as they can; the noise is each one's own.
    step = view.detector.step
    part = coarse[-(-100 // step) : 400 // step, : 300 // step]
    assert abs(np.median(part) - np.median(window)) < 0.05
    with pytest.raises(ValueError, match="window"):
        source.read(1, (0, 0, 5, 5))


def test_boxes_are_the_truths(data):
    method = of_method()
    for sample in data.samples[:3]:
        rows, cols = sample.source().shape
        found = Subject.of(sample, method).parts() * [cols, rows, cols, rows]
        truth = sample.masses((rows, cols))
        assert len(found) == len(sample.planned.masses) == len(mass_boxes(sample.planned))
        for k, (box, coarse) in enumerate(zip(found, mass_boxes(sample.planned), strict=True), start=1):
            ys, xs = np.nonzero(truth == k)
            exact = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            np.testing.assert_allclose(box, exact, atol=0.01)
            step = sample.planned.detector.step
            np.testing.assert_allclose(coarse * [cols, rows, cols, rows], exact, atol=1.5 * step)


def test_examples_have_their_sizes_and_bright_masses(data):
    for sample in data.samples[:2]:
        (example,) = task_of("demo-detector").prepare(sample)
        images = {name: array for name, array in example.items() if name != "boxes"}
        assert {name: array.shape for name, array in images.items()} == {
            f"image_{rows}x{cols}": (rows, cols) for rows, cols in of_method().scales
        }
        assert ((example["boxes"] >= 0) & (example["boxes"] <= 1)).all()
        for image in images.values():
            rows, cols = image.shape
            x, y = (example["boxes"][:, :2] + example["boxes"][:, 2:]).T / 2 * [[cols], [rows]]
            assert image[y.astype(int), x.astype(int)].mean() > np.median(image[image > 0])


def test_crops_are_equalized_and_brighter_under_their_masks(data):
    brighter = []
    for sample in data.samples[:4]:
        for example in task_of("demo-segmenter").prepare(sample):
            crop, mask = example["crop"], example["mask"]
            assert crop.shape == mask.shape == (256, 256)
            assert set(np.unique(mask)) == {0, 1}
            assert 0.1 < mask.mean() < 0.9
            brighter.append(crop[mask > 0].mean() > crop[mask == 0].mean())
            # Equalized: grey values are spread evenly.
            assert stats.kstest(crop.ravel() / 255, "uniform").statistic < 0.25
    assert len(brighter) == 2 * sum(len(sample.planned.masses) for sample in data.samples[:4])
    assert np.mean(brighter) > 0.9


def test_views_are_not_those_that_are_written():
    written = {(v.study, v.side, v.view) for study in plan_studies(2, 5) for v in study}
    drawn = draw_phantoms(2, 5)
    assert {(s.planned.study, s.laterality, s.view) for s in drawn} == written
    first = next(v for study in plan_studies(2, 5) for v in study)
    assert not np.array_equal(first.draw().base[:50], drawn.samples[0].planned.draw().base[:50])
