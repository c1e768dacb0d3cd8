"""Intervals of average precision and FROC, against curves of patients listed as often as they were drawn."""

import numpy as np
import pytest

from mammofast.evaluation import Detections, average_precision, froc

AT = (0.0, 0.25, 0.5, 1.0, 7.0)


def some_images(rng):
    images = []
    for _ in range(rng.integers(1, 9)):
        n = int(rng.integers(0, 5))
        hits = rng.random(n) < 0.5
        # Few different confidences: candidates tie within and between patients.
        images.append(
            (f"p{rng.integers(4)}", rng.choice([0.1, 0.5, 0.9], size=n), hits, int(hits.sum() + rng.integers(3)))
        )
    return images


def drawn_by_hand(images, weights):
    names = sorted({patient for patient, *_ in images})
    measures = []
    for counts in weights:
        listed = [image for image in images for _ in range(counts[names.index(image[0])])]
        confidences = np.concatenate([image[1] for image in listed])
        hits = np.concatenate([image[2] for image in listed])
        masses = sum(image[3] for image in listed)
        if masses:
            curve = froc(confidences, hits, masses, len(listed))
            ap = average_precision(confidences, hits, masses)
            measures.append([ap, *(curve.sensitivity_at(at) for at in AT)])
    return np.array(measures)


def test_a_thousand_sets_of_images():
    rng = np.random.default_rng(0)
    tried = 0
    for case in range(1000):
        images = some_images(rng)
        found = Detections.of(images)
        masses = sum(image[3] for image in images)
        if masses:
            together = [np.concatenate([image[i] for image in images]) for i in (1, 2)]
            assert found.average_precision() == pytest.approx(average_precision(*together, masses), abs=1e-6)
            theirs = froc(*together, masses, len(images))
            np.testing.assert_array_equal(found.froc().fp_per_image, theirs.fp_per_image)
            np.testing.assert_array_equal(found.froc().sensitivity, theirs.sensitivity)
        with_masses = {patient for patient, *_, n in images if n}
        got = found.intervals(AT, samples=30, seed=case)
        if len(with_masses) < 2:
            assert got == {"average_precision": None, "sensitivity_at": dict.fromkeys(map(str, AT))}
            continue
        tried += 1
        n = len(found.patients)
        weights = np.random.default_rng(case).multinomial(n, [1 / n] * n, size=30)
        expected = np.percentile(drawn_by_hand(images, weights), [2.5, 97.5], axis=0).T
        np.testing.assert_allclose(got["average_precision"], expected[0], atol=1e-6)
        np.testing.assert_allclose(list(got["sensitivity_at"].values()), expected[1:], atol=1e-6)
    assert tried > 600


def test_many_draws_are_worked_on_in_parts():
    images = some_images(np.random.default_rng(5))
    found = Detections.of(images)
    weights = np.random.default_rng(0).integers(1, 4, size=(200, len(found.patients)))
    whole = found.resample(weights, AT)
    parts = [found.resample(weights[i : i + 1], AT) for i in range(200)]
    np.testing.assert_array_equal(whole[0], np.concatenate([p for p, _ in parts]))
    np.testing.assert_array_equal(whole[1], np.concatenate([s for _, s in parts]))


def test_no_image_and_no_candidate():
    nothing = Detections.of([("a", [], [], 1), ("b", [], [], 2)])
    assert nothing.average_precision() == 0
    assert nothing.intervals((1.0,), samples=10) == {"average_precision": [0, 0], "sensitivity_at": {"1.0": [0, 0]}}
    assert Detections.of([]).intervals() == {"average_precision": None, "sensitivity_at": {}}
