"""Batches of the detector's training: sizes that change, boxes that follow their images; and its measure."""

import numpy as np
import pytest
import torch
from torch import nn

from mammofast.errors import TrainingError
from mammofast.training.anchors import kmeans_anchors, mean_best_iou
from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task

SCALES = ((320, 160), (512, 256), (640, 320), (832, 416), (960, 480))
ANCHORS = [[12, 20], [18, 30], [25, 38], [30, 50], [40, 60], [50, 76], [60, 96], [80, 120], [105, 170]]


def task_of(name="demo-detector", **changes):
    recipe = read_recipe(name, changes)
    return make_task(recipe, recipe.stages[0])


def spot(rng):
    """An example whose only bright block is where its box says, at every size."""
    x, y = rng.uniform(0, 0.6), rng.uniform(0, 0.7)
    box = np.array([[x, y, x + 0.25, y + 0.2]], np.float32)
    example = {"boxes": box}
    for rows, cols in SCALES:
        image = np.zeros((rows, cols), np.uint8)
        left, top, right, bottom = np.rint(box[0] * [cols, rows, cols, rows]).astype(int)
        image[top:bottom, left:right] = 200
        example[f"image_{rows}x{cols}"] = image
    return example


def test_boxes_follow_mirrored_images():
    rng = np.random.default_rng(3)
    task = task_of(**{"examples.weights": [1.0, 0, 0, 0, 0]})
    examples = [spot(rng) for _ in range(48)]
    batch = task.batch(examples, rng, 0)
    assert batch["images"].shape == (48, 1, 320, 160)
    assert batch["whose"].tolist() == list(range(48))
    moved = set()
    pairs = zip(batch["images"][:, 0].numpy(), batch["boxes"].numpy(), examples, strict=True)
    for image, box, example in pairs:
        rows, cols = np.nonzero(image > 0.3)
        np.testing.assert_allclose(box, [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], atol=1)
        before = example["boxes"][0] * [160, 320, 160, 320]
        moved.add((abs(box[0] - before[0]) > 2, abs(box[1] - before[1]) > 2))
    assert len(moved) == 4


def test_measuring_draws_nothing_and_takes_the_middle_size():
    rng = np.random.default_rng(0)
    example = spot(rng)
    batch = task_of().batch([example], None, 0)
    np.testing.assert_array_equal(batch["images"][0, 0].numpy() * 255, example["image_640x320"])
    np.testing.assert_allclose(batch["boxes"][0], example["boxes"][0] * [320, 640, 320, 640], rtol=1e-6)


def sizes_of(task, steps):
    example = spot(np.random.default_rng(0))
    return [tuple(task.batch([example], np.random.default_rng(0), step)["images"].shape[2:]) for step in steps]


def test_the_paper_draws_a_size_for_every_ten_batches():
    task = task_of("p4-yolov3")
    sizes = sizes_of(task, range(0, 400))
    blocks = [sizes[k : k + 10] for k in range(0, 400, 10)]
    assert all(len(set(block)) == 1 for block in blocks)
    assert {block[0] for block in blocks} == set(SCALES)
    assert sizes == sizes_of(task_of("p4-yolov3"), range(0, 400))
    assert task.batch([spot(np.random.default_rng(0))], None, 0)["images"].shape[1] == 3


def test_sizes_come_as_often_as_their_weights():
    sizes = sizes_of(task_of(**{"examples.weights": [3.0, 0.0, 0.0, 0.0, 1.0]}), range(200))
    assert set(sizes) == {SCALES[0], SCALES[4]}
    assert 130 <= sizes.count(SCALES[0]) <= 170
    with pytest.raises(TrainingError, match="weights"):
        task_of(**{"examples.weights": [1.0, 2.0]})


def test_anchors_are_fitted_to_the_boxes_at_their_sizes():
    rng = np.random.default_rng(1)
    examples = [spot(rng) | {"boxes": np.array([[0, 0, *rng.uniform(0.02, 0.4, 2)]], np.float32)} for _ in range(60)]
    task = task_of("p4-yolov3")
    fitted = task.fit(examples)
    sizes = np.array([e["boxes"][0, 2:] for e in examples], np.float64) * [416, 832]
    assert fitted["anchors"] == kmeans_anchors(sizes, 9, 0).tolist()
    assert fitted["mean_best_iou"] == mean_best_iou(sizes, np.array(fitted["anchors"]))
    task.use(fitted)
    assert task.parameters()["anchors"] == fitted["anchors"]
    assert task.parameters()["scales"] == [list(size) for size in SCALES]


class Says(nn.Module):
    """A detector that finds the bright block of a `spot`, ``off`` pixels beside it."""

    def __init__(self, off=0.0):
        super().__init__()
        self.off = off

    def forward(self, images):
        heads = [
            torch.full((len(images), 3, 6, images.shape[2] // s, images.shape[3] // s), -20.0) for s in (8, 16, 32)
        ]
        for i, image in enumerate(images[:, 0]):
            rows, cols = torch.nonzero(image > 0.3, as_tuple=True)
            x = (cols.min() + cols.max() + 1) / 2 + self.off
            y, w, h = (rows.min() + rows.max() + 1) / 2, cols.max() + 1 - cols.min(), rows.max() + 1 - rows.min()
            place = torch.stack([x, y]) / 32
            t = torch.logit((place % 1).clamp(0.01, 0.99))
            size = torch.log(torch.stack([w / 60, h / 96]))
            heads[2][i, 0, :, int(place[1]), int(place[0])] = torch.cat([t, size, torch.tensor([5.0, 5.0])])
        return [head.flatten(1, 2) for head in heads]


@pytest.mark.parametrize("off, expected", [(0.0, 1.0), (60.0, 0.0)])
def test_the_measure_is_average_precision(off, expected):
    rng = np.random.default_rng(5)
    task = task_of()
    task.use({"anchors": ANCHORS})
    batches = [task.batch([spot(rng) for _ in range(4)], None, 0) for _ in range(2)]
    assert task.measure(Says(off), batches) == {"average_precision": expected}


def test_a_new_network_is_silent():
    torch.manual_seed(0)
    for name in ("demo-detector", "p4-yolov3"):
        network = task_of(name, **{"network.options.width": 0.1}).network().eval()
        with torch.no_grad():
            heads = network(torch.rand(1, 1 if name == "demo-detector" else 3, 64, 64))
        for head in heads:
            confidence = torch.sigmoid(head.view(3, 6, -1)[:, 4])
            assert float(confidence.max()) < 0.05
