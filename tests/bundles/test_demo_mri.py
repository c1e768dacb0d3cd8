"""The bundle demo-mri: small, hashed, and able to do on phantoms what it is shipped for."""

from pathlib import Path

import numpy as np
import pytest

import mammofast
from mammofast.bundles import load_bundle
from mammofast.evaluation import dice
from mammofast.evaluation.volumes import measure_volume
from mammofast.phantom.dce_mri.case import draw_case
from mammofast.phantom.dce_mri.plan import Mix, plan_cases


def test_it_is_small_and_says_what_it_is():
    bundle = load_bundle("demo-mri")
    assert bundle.method == "volume"
    assert set(bundle.networks) == {"region", "trunk", "head"}
    assert "never on patients" in bundle.notice
    assert sum(path.stat().st_size for path in Path(bundle.folder).iterdir()) < 8e6
    for name in bundle.networks:
        assert bundle.read(name)


@pytest.mark.parametrize("study", [0, 3])
def test_it_finds_a_breast_and_a_mass(study):
    planned = plan_cases(4, 77, mix=Mix(1.0, 0.0))[study]
    case = draw_case(planned)
    with mammofast.open_bundle("demo-mri") as screener:
        result = screener.screen_volume(case.phases, spacing=case.grid.spacing)
        again = screener.screen_volume(case.phases, spacing=case.grid.spacing)
    assert result.error is None
    assert dice(result.region, case.labels > 0) > 0.93
    boxes = [[*f.box[:2], f.z_min, *f.box[2:], f.z_max] for f in result.findings]
    scores = [f.confidence for f in result.findings]
    measured = measure_volume("a", boxes, scores, result.region, case.labels)
    assert measured.hits.sum() == 1
    assert len(boxes) <= 5
    assert again.findings == result.findings
    np.testing.assert_array_equal(again.region, result.region)
