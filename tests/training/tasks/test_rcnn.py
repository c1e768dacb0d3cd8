"""Faster R-CNN's training: what a batch is, that the head sees it whole, and that it learns to find a block."""

import numpy as np
import pytest
import torch

from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task

CHANGES = {
    "task": "rcnn",
    "network.options.channels": 3,
    "network.options.width": 0.06,
    "network.options.depth": 50,
    "network.options.anchors": 3,
    "network.sizes": [[96, 96]],
    "bundle.parameters.anchors": {"stride": 16, "scales": [1.0, 2.0, 3.0], "ratios": [1.0]},
}


def task_of(**changes):
    recipe = read_recipe("p5-faster-rcnn", {**CHANGES, **changes})
    return make_task(recipe, recipe.stages[0])


def block(rng, masses=1):
    """A dark image with bright blocks where its boxes say."""
    image, boxes = rng.normal(0.1, 0.02, (3, 96, 96)), []
    for k in range(masses):
        x, y = int(rng.integers(0, 60)), int(rng.integers(48 * k, 48 * k + 14))
        image[:, y : y + 32, x : x + 32] += 0.8
        boxes.append([x, y, x + 32, y + 32])
    return {"image": image.astype(np.float16), "boxes": np.array(boxes, np.float32).reshape(-1, 4)}


def test_boxes_follow_mirrored_images():
    rng = np.random.default_rng(0)
    examples = [block(rng) for _ in range(40)]
    batch = task_of().batch(examples, rng, 0)
    moved = 0
    for image, box, example in zip(batch["images"].numpy(), batch["boxes"].numpy(), examples, strict=True):
        rows, cols = np.nonzero(image[0] > 0.5)
        assert box.tolist() == [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
        moved += box.tolist() != example["boxes"][0].tolist()
    assert 8 < moved < 32
    kept = task_of().batch(examples, None, 0)
    np.testing.assert_array_equal(kept["boxes"], np.concatenate([e["boxes"] for e in examples]))


def test_the_head_sees_a_batchs_proposals_at_once():
    torch.manual_seed(0)
    task, rng = task_of(), np.random.default_rng(0)
    network = task.network().train()
    seen = []
    network.network.head.register_forward_hook(lambda module, given, out: seen.append(given[0].shape))
    batch = task.batch([block(rng, n) for n in (1, 0, 2)], rng, 0)
    first = task.loss(network, batch, "network")
    assert len(seen) == 1
    assert seen[0][0] > 3
    assert seen[0][2:] == (7, 7)
    first.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    # What is sampled is the batch's own: the same batch costs the same.
    network.eval()
    with torch.no_grad():
        assert float(task.loss(network, batch, "network")) == float(task.loss(network, batch, "network"))


def test_it_learns_to_find_a_block():
    torch.manual_seed(0)
    task, rng = task_of(), np.random.default_rng(1)
    examples = [block(rng) for _ in range(6)]
    network = task.network()
    held = [task.batch(examples, None, 0)]
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(45):
        network.train()
        optimizer.zero_grad()
        task.loss(network, task.batch(examples, rng, step), "network").backward()
        optimizer.step()
    # Statistics of this little data, not of its beginnings.
    with torch.no_grad():
        for _ in range(20):
            task.loss(network, task.batch(examples, rng, 0), "network")
        assert task.measure(network.eval(), held)["average_precision"] > 0.5


def test_anchors_must_be_the_networks():
    with pytest.raises(ValueError, match="anchors"):
        task_of(**{"network.options.anchors": 9}).network()


def test_an_image_is_stretched_with_its_boxes(tmp_path):
    import imagecodecs

    from mammofast.datasets import Sample

    pixels, labels = np.full((80, 160), 10, np.uint8), np.zeros((80, 160), np.uint8)
    labels[20:40, 80:120] = 1
    pixels[labels > 0] = 250
    for name, array in (("image", pixels), ("labels", labels)):
        (tmp_path / f"{name}.png").write_bytes(imagecodecs.png_encode(array))
    sample = Sample("a", "b", tmp_path / "image.png", labels=tmp_path / "labels.png")
    (example,) = task_of().prepare(sample)
    assert example["image"].shape == (3, 96, 96)
    assert example["boxes"].tolist() == [[48, 24, 72, 48]]
    assert example["image"][:, 30:40, 55:65].min() > 0.9
    assert example["image"][:, :20].max() < 0.1
