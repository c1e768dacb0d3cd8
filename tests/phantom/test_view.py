"""Views: geometry, places of masses, and that rendering at two sizes shows the same thing."""

import numpy as np
import pytest

from mammofast.phantom.plan import Mix, Purpose, plan_studies
from mammofast.phantom.view import DETECTORS, draw_view


@pytest.fixture(scope="module")
def views():
    planned = [view for study in plan_studies(6, 11) for view in study]
    return [(p, p.draw()) for p in planned]


def test_masses_lie_in_the_breast_and_apart(views):
    seen = 0
    for planned, view in views:
        assert len(view.inside) == len(planned.masses)
        labels = view.truth()
        assert labels.shape == (view.detector.rows, view.detector.cols)
        assert set(np.unique(labels)) == set(range(len(planned.masses) + 1))
        boxes = []
        for k in range(1, len(planned.masses) + 1):
            rows, cols = np.nonzero(labels == k)
            boxes.append((cols.min(), rows.min(), cols.max(), rows.max()))
            side = max(np.ptp(rows), np.ptp(cols)) + 1
            assert 200 * 0.85 <= side * view.detector.spacing / 0.07 <= 800 * 1.05
            seen += 1
        if len(boxes) == 2:
            a, b = boxes
            assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
    assert seen >= 8


def test_two_masses_of_a_breast_keep_apart():
    planned = [v for s in plan_studies(5, 2, Purpose.STUDIES, Mix(1.0, 1.0, 0.5)) for v in s]
    for view in (p.draw() for p in planned):
        a, b = view.inside
        near = [[(i > limit) for limit in (0, -2.5)] for i in (a, b)]
        assert not (near[0][1] & near[1][0]).any()
        assert not (near[0][0] & near[1][1]).any()


def test_native_pooled_is_the_coarse_image(views):
    checked = set()
    for _, view in views:
        if view.detector in checked:
            continue
        checked.add(view.detector)
        step = view.detector.step
        native = view.render()
        assert native.shape == (view.detector.rows, view.detector.cols)
        rows, cols = (size // step for size in native.shape)
        pooled = native[: rows * step, : cols * step].reshape(rows, step, cols, step).mean(axis=(1, 3))
        coarse = view.coarse()[:rows, :cols]
        breast = (coarse > 0.1) & (pooled > 0.1)
        assert np.corrcoef(pooled[breast], coarse[breast])[0, 1] > 0.98
        # The noise left after averaging: as strong in both.
        a, b = (np.diff(image, 2, axis=0)[breast[2:]].std() for image in (pooled, coarse))
        assert a == pytest.approx(b, rel=0.1)
    assert len(checked) >= 3


def test_a_window_shows_what_the_whole_image_shows_there(views):
    _, view = views[0]
    whole = view.render()
    for window in (
        (0, 0, 64, 80),
        (101, 203, 701, 640),
        (view.detector.cols - 50, view.detector.rows - 33, view.detector.cols, view.detector.rows),
    ):
        x_min, y_min, x_max, y_max = window
        part, same = view.render(window), whole[y_min:y_max, x_min:x_max]
        assert part.shape == same.shape
        np.testing.assert_array_equal(part == 0, same == 0)
        assert np.abs(part - same).max() < 14 * view.quantum
        if (same > 0).any():
            assert abs((part - same)[same > 0].mean()) < view.quantum


def test_mlo_holds_muscle_and_cc_does_not_and_air_is_flat(views):
    for planned, view in views:
        rows, cols = view.base.shape
        corner = view.base[: rows // 12, : cols // 12]
        if planned.view == "MLO":
            assert corner.min() > 0.1
        assert (view.base[:, -cols // 50 :] == 0).mean() > 0.9


def test_an_unknown_view_is_refused(views):
    planned = views[0][0]
    with pytest.raises(ValueError, match="'ML'"):
        draw_view(DETECTORS[0], planned.breast, "ML", (), np.random.default_rng(0))
