"""Sets of DCE-MRI studies: their exact make-up, and streams that never meet, not even mammography's."""

import numpy as np
import pytest

from mammofast.phantom.dce_mri.dicom import identify, study_uid
from mammofast.phantom.dce_mri.masses import DIAMETER_MM
from mammofast.phantom.dce_mri.plan import VERSION, Mix, plan_cases
from mammofast.phantom.plan import Purpose, plan_studies


@pytest.mark.parametrize("seed", [0, 7])
def test_a_hundred_cases_hold_what_is_promised(seed):
    plan = plan_cases(100, seed)
    counts = np.array([len(case.masses) for case in plan])
    assert (counts > 0).sum() == 85
    assert (counts == 2).sum() == 17
    assert [case.protocol.enhanced for case in plan] == [False, False, False, True] * 25
    assert {len(case.protocol.times) for case in plan} == {4, 5}
    for case in plan:
        assert case.protocol.times[0] == 0
        assert (np.diff(case.protocol.times) > 0).all()
    classic = [case.protocol for case in plan if not case.protocol.enhanced]
    assert {(p.series_per_phase, p.shuffled) for p in classic} == {(a, b) for a in (False, True) for b in (False, True)}
    diameters = np.array([mass.diameter for case in plan for mass in case.masses])
    assert diameters.min() >= DIAMETER_MM[0]
    assert diameters.max() <= DIAMETER_MM[1]
    assert diameters.max() > 50


def test_small_masses_are_more_than_large_ones():
    diameters = np.array([mass.diameter for case in plan_cases(500, 1) for mass in case.masses])
    assert np.median(diameters) < 0.95 * np.sqrt(np.prod(DIAMETER_MM))


def test_no_stream_is_anothers():
    draws = [
        case.stream(word).integers(2**63)
        for purpose in Purpose
        for seed in range(3)
        for case in plan_cases(3, seed, purpose)
        for word in range(3)
    ]
    draws += [
        view.stream(0).integers(2**63)
        for purpose in Purpose
        for seed in range(3)
        for study in plan_studies(3, seed, purpose)
        for view in study
    ]
    assert len(set(draws)) == len(draws)


def test_training_validation_and_written_cases_differ():
    sets = [plan_cases(4, 5, purpose, Mix(1.0, 0.0)) for purpose in Purpose]
    seeds = [mass.seed for plan in sets for case in plan for mass in case.masses]
    assert len(seeds) == len(set(seeds)) == 12


def names(plan):
    return [(study_uid(case), identify(case).series_uid, identify(case).sop_uid) for case in plan]


def test_other_pixels_bear_other_uids(monkeypatch):
    plans = [
        plan_cases(2, 7),
        plan_cases(4, 7),
        plan_cases(4, 8),
        plan_cases(4, 7, Purpose.VALIDATION),
        plan_cases(4, 7, mix=Mix(0.5, 0.5)),
    ]
    uids = [uid for plan in plans for case in names(plan) for uid in case]
    assert len(set(uids)) == len(uids) == 3 * (2 + 4 * 4)
    monkeypatch.setattr("mammofast.phantom.dce_mri.plan.VERSION", VERSION + 1)
    assert not {uid for case in names(plans[0]) for uid in case} & set(uids)


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="-1"):
        plan_cases(-1, 0)
    with pytest.raises(ValueError, match="-2"):
        plan_cases(1, -2)
