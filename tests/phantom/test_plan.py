"""Sets of studies: their exact make-up, and streams that never meet."""

import numpy as np
import pytest

from mammofast.phantom.plan import Mix, Purpose, plan_studies


def breasts(plan):
    return [view.masses for study in plan for view in study if view.view == "CC"]


@pytest.mark.parametrize("seed", [0, 1, 99])
def test_a_hundred_studies_hold_what_is_promised(seed):
    plan = plan_studies(100, seed)
    counts = np.array([len(masses) for masses in breasts(plan)])
    assert len(counts) == 200
    assert (counts > 0).sum() == 80
    assert (counts == 2).sum() == 16
    assert sum(m.subtle for masses in breasts(plan) for m in masses) == 24


def test_both_views_show_the_same_breast():
    for study in plan_studies(10, 4):
        for cc, mlo in zip(study[::2], study[1::2], strict=True):
            assert (cc.view, mlo.view) == ("CC", "MLO")
            assert cc.side == mlo.side
            assert cc.masses == mlo.masses
            assert cc.breast == mlo.breast


def test_another_mix_is_followed():
    counts = np.array([len(m) for m in breasts(plan_studies(50, 0, Purpose.TRAINING, Mix(1.0, 0.5, 0.0)))])
    assert (counts >= 1).all()
    assert (counts == 2).sum() == 50


def test_no_stream_of_one_purpose_seed_study_or_view_is_anothers():
    streams = [
        view.stream(0).integers(2**63)
        for purpose in Purpose
        for seed in range(4)
        for study in plan_studies(3, seed, purpose)
        for view in study
    ]
    assert len(set(streams)) == len(streams) == 3 * 4 * 3 * 4


def test_training_phantoms_are_never_written_ones():
    for seed in range(5):
        written, trained = plan_studies(2, seed), plan_studies(2, seed, Purpose.TRAINING)
        assert written[0][0].breast != trained[0][0].breast


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="-1"):
        plan_studies(-1, 0)
    with pytest.raises(ValueError, match="-2"):
        plan_studies(1, -2)
