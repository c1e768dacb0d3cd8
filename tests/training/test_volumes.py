"""P5's networks learn from slices of volumes; what they learnt compiles and screens one."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import mammofast
from mammofast.archive import ingest
from mammofast.datasets import Dataset, Sample, Split, read_dce_mri
from mammofast.errors import DatasetError, TrainingError
from mammofast.methods.volume_inputs import ArrayVolume
from mammofast.phantom.dce_mri import write_studies
from mammofast.phantom.dce_mri.plan import Mix
from mammofast.phantom.plan import Purpose
from mammofast.training.bundle import write_bundle
from mammofast.training.recipe_files import read_recipe, recipes
from mammofast.training.tasks import make_task
from mammofast.training.trainer import train
from mammofast.training.volumes import draw_volumes

SHAPE = (6, 48, 40)
VOLUMES = [name for name in recipes() if (bundle := read_recipe(name).bundle) is not None and bundle.method == "volume"]
SMALL = {"training.epochs": 1, "training.batch": 4, "training.accumulate": 1, "network.options.width": 0.06}
TINY = {
    "demo-mri-region": {"network.options.widths": [2, 4, 8, 16, 32]},
    "demo-mri-detector": {},
    "p5-unet-pp": {},
    "p5-unet": {},
    "p5-faster-rcnn": {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeVolume(Sample):
    """A bright box in a breast that fills half of every slice but the first, and noise."""

    seed: int

    def volume(self):
        rng = np.random.default_rng(self.seed)
        labels = np.zeros(SHAPE, np.uint8)
        labels[1:, :30] = 1
        labels[2:4, 6:18, 8:22] = 2
        phases = rng.integers(0, 40, (3, *SHAPE), np.uint16)
        phases += 100 * (labels > 0).astype(np.uint16)
        phases[1:, labels == 2] += 400
        return ArrayVolume(phases, (3.0, 2.0, 2.0)), labels

    def fingerprint(self):
        return f"made {self.seed}"


def made(count=3):
    samples = tuple(MadeVolume(name=f"v{k}", patient=f"p{k}", image=Path("none"), seed=k) for k in range(count))
    return Dataset("made", samples), Split(tuple(s.name for s in samples), ())


def tiny(name):
    """Return a recipe shrunk to seconds, its network's input 64 x 64."""
    role = "region" if (recipe := read_recipe(name)).bundle.role == "region" else "detection"
    shape = {"network.sizes": [[64, 64]], f"bundle.parameters.{role}.shape": [64, 64]}
    changes = {**SMALL, **shape, **TINY[name]}
    assert recipe.bundle is not None
    return read_recipe(name, changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = {}

    def of(name):
        if name not in runs:
            runs[name] = train(tiny(name), *made(), tmp_path_factory.mktemp(name) / "run")
        return runs[name]

    return of


@pytest.mark.parametrize("name", VOLUMES)
def test_an_epoch_compiles_and_screens(name, trained, tmp_path):
    role = read_recipe(name).bundle.role
    partner = {"region": "demo-mri-detector", "detector": "demo-mri-region"}[role]
    other = read_recipe(partner).bundle.role
    write_bundle({role: trained(name).out, other: trained(partner).out}, tmp_path / "bundle")
    volume, _ = made()[0].samples[0].volume()
    with mammofast.open_bundle(tmp_path / "bundle") as screener:
        result = screener.screen_volume(volume.pixels, spacing=volume.spacing)
    assert result.error is None
    assert result.region.shape == SHAPE


def test_all_recipes_of_volumes_are_tried():
    assert sorted(TINY) == sorted(VOLUMES)


def test_examples_of_regions_are_slices_as_the_method_sees_them():
    recipe = tiny("demo-mri-region")
    task = make_task(recipe, recipe.stages[0])
    sample = made()[0].samples[0]
    examples = task.prepare(sample)
    assert len(examples) == SHAPE[0]
    truth = np.stack([example["truth"] for example in examples])
    assert truth.shape == (6, 64, 64)
    assert not truth[0].any()
    # 30 of 48 rows are breast, whatever they are stretched to.
    assert truth[1:].mean() == pytest.approx(30 / 48, abs=1 / 64)
    for example in examples:
        assert example["image"].shape == (1, 64, 64)
        assert float(example["image"].mean()) == pytest.approx(0, abs=1e-4)
        assert float(example["image"].std()) == pytest.approx(1, abs=1e-3)
    few = read_recipe("demo-mri-region", {"examples.slices": 2})
    assert len(make_task(few, few.stages[0]).prepare(sample)) == 2


def test_examples_of_masses_are_cut_to_the_breast_and_have_their_boxes():
    recipe = tiny("demo-mri-detector")
    examples = make_task(recipe, recipe.stages[0]).prepare(made()[0].samples[0])
    with_mass = [example for example in examples if len(example["boxes"])]
    assert len(with_mass) == 2
    assert len(examples) == 3, "six tenths of two, of three slices that have breast and no mass"
    for example in with_mass:
        np.testing.assert_allclose(example["boxes"], [[8 * 1.6, 6 * 4 / 3, 22 * 1.6, 18 * 4 / 3]], rtol=1e-6)
        subtraction = example["image"][0].astype(float)
        x_min, y_min, x_max, y_max = example["boxes"][0].round().astype(int)
        assert subtraction[y_min + 2 : y_max - 2, x_min + 2 : x_max - 2].min() > subtraction[:4].max()
        assert not example["image"][:, 42:].any(), "what is no breast is 0 in every channel"
    small = read_recipe("demo-mri-detector", {"examples.least": 200})
    assert not any(len(e["boxes"]) for e in make_task(small, small.stages[0]).prepare(made()[0].samples[0]))


def test_an_image_is_no_volume():
    recipe = tiny("demo-mri-region")
    with pytest.raises(DatasetError, match="got an image, expected a volume"):
        make_task(recipe, recipe.stages[0]).prepare(Sample("a", "a", Path("a.dcm")))
    for wrong in ({"examples.colour": 1}, {"examples.slices": -1}):
        recipe = read_recipe("demo-mri-region", wrong)
        with pytest.raises(TrainingError, match="examples"):
            make_task(recipe, recipe.stages[0])


def test_drawn_volumes_are_training_phantoms():
    drawn = draw_volumes(2, 1, mix=Mix(1.0, 0.0))
    volume, labels = drawn.samples[0].volume()
    assert volume.shape == labels.shape
    assert labels.max() == 2
    prints = {s.fingerprint() for s in (*drawn, *draw_volumes(2, 2), *draw_volumes(2, 1, Purpose.STUDIES))}
    assert len(prints) == 6


def test_written_phantoms_are_read_from_their_archive(tmp_path):
    names = write_studies(tmp_path, 1, 4, workers=1)
    with pytest.raises(DatasetError, match="ingest the DICOM objects first"):
        read_dce_mri(tmp_path)
    ingest([tmp_path / "dicom"], tmp_path / "archive.zarr")
    (sample,) = read_dce_mri(tmp_path)
    assert sample.name == names[0]
    volume, labels = sample.volume()
    truth = json.loads((tmp_path / "truth" / f"{names[0]}.json").read_text())
    assert list(volume.shape) == truth["shape"] == list(labels.shape)
    # The archive's slices lie as the truth's: a mass enhances where it says.
    for mass in truth["masses"]:
        gained = volume.values(1) - volume.values(0)
        assert gained[labels == 1 + mass["mass"]].mean() > 3 * gained[labels == 1].mean()
    before = sample.fingerprint()
    np.save(sample.labels, np.zeros((2, 2, 2), np.uint8))
    assert sample.fingerprint() != before
    with pytest.raises(DatasetError, match="another's"):
        sample.volume()
    sample.labels.unlink()
    with pytest.raises(DatasetError):
        read_dce_mri(tmp_path)
