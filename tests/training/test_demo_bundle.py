"""The bundle that ships: whole, small, with the interface it states, and good enough on phantoms it never saw."""

import numpy as np
import pytest

from mammofast.bundles import load_bundle
from mammofast.engine import load_engine
from mammofast.phantom.plan import plan_studies
from mammofast.training.measure import measure
from mammofast.training.recipe_files import read_recipe


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("demo")


def test_it_is_whole_small_and_says_what_it_is_for(bundle):
    assert sum(len(bundle.read(name)) for name in bundle.networks) < 15e6
    assert "phantoms" in bundle.notice
    assert bundle.accepts == {"presentation_intent": ["FOR PRESENTATION"]}
    assert bundle.parameters["fusion_threshold"] == 0.6


def test_networks_have_the_interface_that_the_method_uses(bundle):
    rng = np.random.default_rng(0)
    scales = read_recipe("demo-detector").stages[0].network.sizes
    with load_engine(bundle.read("detector"), "onnxruntime") as detector:
        for rows, cols in scales:
            out = detector.run({"image": rng.random((1, 1, rows, cols), np.float32)})
            assert {k: v.shape for k, v in out.items()} == {
                f"stride_{s}": (1, 18, rows // s, cols // s) for s in (8, 16, 32)
            }
    with load_engine(bundle.read("segmenter"), "onnxruntime") as segmenter:
        mask = segmenter.run({"crop": rng.random((2, 1, 256, 256), np.float32)})["mask"]
    assert mask.shape == (2, 1, 256, 256)
    assert 0 <= mask.min() < mask.max() <= 1


def test_it_finds_masses_it_never_saw():
    views = [view for study in plan_studies(3, 31_337) for view in study]
    measures = measure("demo", views)
    assert (measures.images, measures.masses) == (12, 4)
    # Far below what it does on a hundred studies: a few masses are a small sample.
    assert measures.sensitivity >= 0.5
    assert measures.fp_per_image <= 0.5
    assert measures.dice_mean >= 0.6
