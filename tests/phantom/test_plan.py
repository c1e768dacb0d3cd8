"""Sets of studies: their exact make-up, and streams that never meet."""

import numpy as np
import pytest

from mammofast.phantom.dicom import sop_uid, study_uid
from mammofast.phantom.plan import VERSION, Mix, Purpose, plan_studies


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


def uids(plan):
    return [(study_uid(view), sop_uid(view)) for study in plan for view in study]


def test_other_pixels_bear_other_uids():
    """Masses and detectors are drawn for the set as a whole: a smaller set is not the start of a larger one."""
    plans = [
        plan_studies(2, 7),
        plan_studies(6, 7),
        plan_studies(6, 8),
        plan_studies(6, 7, Purpose.VALIDATION),
        plan_studies(6, 7, mix=Mix(0.7, 0.25, 0.35)),
    ]
    # The first study is not the same in any two sets ...
    assert len({str([(v.detector, v.breast, v.masses) for v in plan[0]]) for plan in plans}) == len(plans)
    # ... and no UID is in two of them, nor twice in one.
    named = [uid for plan in plans for _, uid in uids(plan)]
    assert len(set(named)) == len(named) == 4 * (2 + 4 * 6)
    assert len({uid for plan in plans for uid, _ in uids(plan)}) == 2 + 4 * 6
    assert uids(plan_studies(6, 7)) == uids(plans[1])


def test_another_version_bears_other_uids(monkeypatch):
    before = uids(plan_studies(2, 7))
    monkeypatch.setattr("mammofast.phantom.plan.VERSION", VERSION + 1)
    assert not set(before) & set(uids(plan_studies(2, 7)))


def test_the_version_is_raised_with_the_pixels():
    """Where this fails, phantoms of old UIDs have new pixels: raise VERSION, then set these numbers anew."""
    view = plan_studies(2, 7)[0][3].draw()
    assert len(view.inside) == 1
    means = [band.mean() for band in np.array_split(view.base, 4, axis=0)]
    assert VERSION == 2
    np.testing.assert_allclose([*means, view.quantum], [0.23291, 0.28777, 0.29686, 0.11861, 0.010462], rtol=1e-3)
