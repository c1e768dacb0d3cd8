"""Pixel by pixel, with several classes: P3's measures, all taken from one confusion matrix.

A matrix is added up over images before a measure is taken ("pooled"), or is one image's ("per image"): the two differ,
and P1 to P3 do not say which they report.
"""

import numpy as np
import numpy.typing as npt


def confusion_matrix(
    prediction: npt.ArrayLike, truth: npt.ArrayLike, n_classes: int, ignore: int | None = None
) -> npt.NDArray[np.int64]:
    """Return how many pixels of each true class (rows) were given each class (columns), (n_classes, n_classes).

    Parameters
    ----------
    prediction, truth: classes 0 to n_classes - 1, integers of one shape.
    ignore: a value of the truth whose pixels do not count, such as Cityscapes' 255.

    Raises
    ------
    ValueError
        When the shapes differ, or a class is not one of them.

    """
    p, t = np.asarray(prediction), np.asarray(truth)
    if p.shape != t.shape:
        raise ValueError(f"prediction: got shape {p.shape}, expected the truth's {t.shape}")
    if ignore is not None:
        p, t = p[t != ignore], t[t != ignore]
    for name, values in (("prediction", p), ("truth", t)):
        if values.dtype.kind not in "ui":
            raise ValueError(f"{name}: got {values.dtype}, expected integers")
        if values.size and (values.min() < 0 or values.max() >= n_classes):
            raise ValueError(f"{name}: got classes {values.min()} to {values.max()}, expected 0 to {n_classes - 1}")
    pairs = t.astype(np.int64).ravel() * n_classes + p.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def pixel_accuracy(matrix: npt.ArrayLike) -> float:
    """Return the part of the pixels that have their class, P3's PA. (What P1 calls "PA" is sensitivity.)"""
    m = np.asarray(matrix)
    return float(np.trace(m) / m.sum()) if m.sum() else float("nan")


def class_accuracies(matrix: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return for each class the part of its pixels that have it, (n_classes,); NaN where the truth has none."""
    m = np.asarray(matrix)
    return _divide(np.diag(m), m.sum(axis=1))


def class_ious(matrix: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the IoU of each class, (n_classes,); NaN where neither truth nor prediction has any."""
    m = np.asarray(matrix)
    return _divide(np.diag(m), m.sum(axis=0) + m.sum(axis=1) - np.diag(m))


def mean_class_accuracy(matrix: npt.ArrayLike) -> float:
    """Return the mean over the classes that the truth has, P3's mPA."""
    return _mean(class_accuracies(matrix))


def mean_iou(matrix: npt.ArrayLike) -> float:
    """Return the mean over the classes that truth or prediction have, P3's mIoU."""
    return _mean(class_ious(matrix))


def _divide(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
