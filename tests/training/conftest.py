"""Tiny data in the phantoms' layout, and every recipe narrowed and shrunk so that an epoch takes seconds."""

import imagecodecs
import numpy as np
import pytest

from mammofast.archive import ingest
from mammofast.datasets import Split, read_cityscapes, read_phantoms
from mammofast.training.recipe_files import read_recipe
from mammofast.training.trainer import train

SHAPE = (96, 80)
# Sizes that suit each network's stride; recipes that a line does not name take the first of their method.
SIZES = {
    "p3-unet": [[284, 284]],
    "p3-deeplabv3": [[64, 64]],
    "p4-cgan": [[256, 256]],
    "p4-cascaded-unet": [[64, 64]],
    "whole_image": [[32, 32]],
    "tiled": [[96, 96]],
    "segmenter": [[32, 32]],
    "detector": [[64, 32], [96, 64]],
}
CROPS = {"p3-fcn": [64, 64], "p3-unet": [204, 204], "p3-dilation10": [48, 48], "p3-deeplabv3": [64, 64]}


class Tiny:
    """Data sets of a few small images."""

    def __init__(self, folder, dicom):
        self.folder, self.dicom = folder, dicom
        self._made = {}

    def phantoms(self, count=8, seed=0):
        """Return a data set of mammograms, each with two masses but the last, which has none."""
        if (count, seed) not in self._made:
            self._made[count, seed] = self._write(self.folder / f"phantoms-{count}-{seed}", count, seed)
        return self._made[count, seed]

    def _write(self, folder, count, seed):
        (folder / "truth").mkdir(parents=True)
        rng = np.random.default_rng(seed)
        for k in range(count):
            pixels = self.dicom.pixels(*SHAPE, seed=100 * seed + k) // 2
            labels = np.zeros(SHAPE, np.uint8)
            for mass, top in enumerate((20, 52), start=1) if k < count - 1 else ():
                row, col, rows, cols = (
                    int(rng.integers(*ends)) for ends in ((top, top + 10), (4, 30), (8, 18), (8, 18))
                )
                labels[row : row + rows, col : col + cols] = mass
            pixels[labels > 0] += 1500
            written = self.dicom.write(folder / "dicom" / f"{k}.dcm", pixels, ImagerPixelSpacing=[0.25, 0.25])
            (folder / "truth" / f"{written.SOPInstanceUID}.png").write_bytes(imagecodecs.png_encode(labels))
        return read_phantoms(folder)

    def streets(self):
        """Return a data set in Cityscapes' layout, with all its 19 classes."""
        folder = self.folder / "streets"
        if not folder.exists():
            identities = np.array([*range(7, 9), *range(11, 14), 17, *range(19, 29), 31, 32, 33], np.uint8)
            rng = np.random.default_rng(0)
            for k in range(3):
                labels = np.repeat(np.repeat(rng.permutation(np.resize(identities, 24)).reshape(4, 6), 16, 0), 16, 1)
                picture = rng.integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
                for place, pixels in (("leftImg8bit", picture), ("gtFine", labels)):
                    path = folder / place / "train" / f"city{k}" / f"city{k}_0_0_{place}.png"
                    path = path if place == "leftImg8bit" else path.with_name(f"city{k}_0_0_gtFine_labelIds.png")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(imagecodecs.png_encode(pixels))
        return read_cityscapes(folder)

    def everything(self, data):
        """Return a split of which all samples train."""
        return Split(tuple(sample.name for sample in data), ())

    def recipe(self, name, **changes):
        """Return a recipe that learns in seconds: one epoch, a narrow network, a small input."""
        recipe = read_recipe(name)
        bundle = recipe.bundle
        method = bundle.method if bundle else "tiled"
        sizes = SIZES.get(name) or SIZES[bundle.role if method == "two_stage" else method]
        values = {"training.epochs": 1, "training.batch": 4, "training.accumulate": 2, "training.average": 0}
        values |= {"network.sizes": sizes}
        if name.startswith("demo"):
            values["training.batch"] = 2
        else:
            values["network.options.width"] = 1 / 16
        if name == "demo-detector":
            values |= {"examples.weights": [1, 1], "examples.anchor_sizes": sizes}
        if name in CROPS:
            values["examples.crop"] = CROPS[name]
        return read_recipe(name, values | changes)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, dicom):
    return Tiny(tmp_path_factory.mktemp("tiny"), dicom)


@pytest.fixture(scope="session")
def archive(tiny, tmp_path_factory):
    """Return the archive of the tiny phantoms."""
    path = tmp_path_factory.mktemp("archive") / "archive.zarr"
    tiny.phantoms()
    ingest(tiny.folder / "phantoms-8-0" / "dicom", path)
    return path


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory):
    """Return the folder of a recipe's training on tiny data, made once."""
    runs = {}

    def run(name):
        if name not in runs:
            recipe = tiny.recipe(name)
            data = tiny.streets() if recipe.bundle is None else tiny.phantoms()
            sets = [data] * max(stage.data for stage in recipe.stages)
            out = tmp_path_factory.mktemp(name) / "run"
            cache = tmp_path_factory.getbasetemp() / "examples"
            runs[name] = train(recipe, sets, [tiny.everything(each) for each in sets], out, cache=cache, device="cpu")
        return runs[name]

    return run
