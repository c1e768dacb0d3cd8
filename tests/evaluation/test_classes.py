"""Measures of several classes against counting."""

import numpy as np
import pytest

from mammofast.evaluation import (
    class_accuracies,
    class_ious,
    confusion_matrix,
    mean_class_accuracy,
    mean_iou,
    pixel_accuracy,
)


def by_hand(prediction, truth, n_classes):
    """Return accuracy, mean class accuracy and mean IoU, class by class over sets of pixels."""
    p, t = prediction.ravel().tolist(), truth.ravel().tolist()
    right = sum(a == b for a, b in zip(p, t, strict=True))
    accuracies, ious = [], []
    for k in range(n_classes):
        of_p, of_t = ({i for i, v in enumerate(values) if v == k} for values in (p, t))
        if of_t:
            accuracies.append(len(of_p & of_t) / len(of_t))
        if of_p | of_t:
            ious.append(len(of_p & of_t) / len(of_p | of_t))
    return right / len(p), sum(accuracies) / len(accuracies), sum(ious) / len(ious)


def test_a_thousand_random_label_images():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        n_classes = int(rng.integers(1, 6))
        shape = tuple(rng.integers(1, 7, size=2))
        # Some classes are rare or missing, in one or in both.
        p, t = (rng.integers(0, rng.integers(1, n_classes + 1), size=shape) for _ in range(2))
        matrix = confusion_matrix(p, t, n_classes)
        got = pixel_accuracy(matrix), mean_class_accuracy(matrix), mean_iou(matrix)
        np.testing.assert_allclose(got, by_hand(p, t, n_classes), atol=1e-12)
        counts = rng.random(shape) < rng.choice([0.2, 0.8])
        partly = confusion_matrix(p, np.where(counts, t, 255), n_classes, ignore=255)
        if counts.any():
            got = pixel_accuracy(partly), mean_class_accuracy(partly), mean_iou(partly)
            np.testing.assert_allclose(got, by_hand(p[counts], t[counts], n_classes), atol=1e-12)
        else:
            assert not partly.any()


def test_rows_are_the_truth():
    matrix = confusion_matrix([0, 1, 1, 1], [0, 0, 1, 2], 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(class_accuracies(matrix), [0.5, 1, 0])
    np.testing.assert_array_equal(class_ious(matrix), [0.5, 1 / 3, 0])


def test_matrices_add_up():
    rng = np.random.default_rng(1)
    p, t = rng.integers(0, 4, size=(2, 5, 8, 8))
    np.testing.assert_array_equal(
        confusion_matrix(p, t, 4), sum(confusion_matrix(p[i], t[i], 4) for i in range(len(p)))
    )


def test_what_the_truth_does_not_say_does_not_count():
    truth = np.array([[0, 255], [1, 255]], np.uint8)
    np.testing.assert_array_equal(confusion_matrix([[0, 1], [1, 0]], truth, 2, ignore=255), [[1, 0], [0, 1]])
    nothing = confusion_matrix([[0]], [[255]], 2, ignore=255)
    assert np.isnan([pixel_accuracy(nothing), mean_class_accuracy(nothing), mean_iou(nothing)]).all()


@pytest.mark.parametrize(
    "prediction, truth, words",
    [
        ([[0, 1]], [[0]], r"prediction: got shape \(1, 2\)"),
        ([2], [0], "prediction: got classes 2 to 2, expected 0 to 1"),
        ([0], [-1], "truth: got classes -1 to -1"),
        ([0.5], [0], "prediction: got float64, expected integers"),
        (np.array([1], np.uint8), np.array([255], np.uint8), "truth: got classes 255"),
    ],
)
def test_what_is_no_class_is_refused(prediction, truth, words):
    with pytest.raises(ValueError, match=words):
        confusion_matrix(prediction, truth, 2)
