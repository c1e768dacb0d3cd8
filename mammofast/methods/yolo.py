"""YOLOv3's output decoded to boxes (Redmon & Farhadi 2018), one class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]

ANCHORS_PER_HEAD = 3
# tx, ty, tw, th, objectness, class: one class, so one class logit.
CHANNELS = 6


def decode(
    heads: Sequence[npt.NDArray[np.float32]],
    strides: Sequence[int],
    anchors: Sequence[tuple[float, float]],
    threshold: float,
) -> tuple[Boxes, Scores]:
    """Decode the heads of one image.

    For the cell (cx, cy) of a head of stride s and an anchor (pw, ph):
    x = (σ(tx) + cx)·s, y likewise, w = pw·exp(tw), h = ph·exp(th), confidence = σ(objectness)·σ(class).

    Parameters
    ----------
    heads: raw logits, one array (3·6, rows / s, cols / s) per stride; channels anchor by anchor.
    strides: pixels between cells, one per head.
    anchors: (width, height) in pixels of the network's input, three per head, in the heads' order.
    threshold: boxes with a smaller confidence are left out.

    Returns
    -------
    boxes float32 (n, 4) in pixels of the network's input, scores float32 (n,); by head, anchor, row, column.

    """
    boxes, scores = [], []
    for head, stride, priors in zip(heads, strides, _per_head(anchors), strict=True):
        rows, cols = head.shape[1:]
        cells = head.reshape(ANCHORS_PER_HEAD, CHANNELS, rows, cols)
        confidence = _sigmoid(cells[:, 4]) * _sigmoid(cells[:, 5])
        anchor, row, col = np.nonzero(confidence >= threshold)
        t = cells[anchor, :4, row, col].astype(np.float64)
        x, y = (_sigmoid(t[:, 0]) + col) * stride, (_sigmoid(t[:, 1]) + row) * stride
        # Past exp(20) a box is larger than any image; the clip keeps an overflow from becoming infinite.
        half = np.exp(np.clip(t[:, 2:4], -20, 20)) * np.asarray(priors)[anchor] / 2
        boxes.append(np.stack([x - half[:, 0], y - half[:, 1], x + half[:, 0], y + half[:, 1]], axis=1))
        scores.append(confidence[anchor, row, col])
    return np.concatenate(boxes).astype(np.float32), np.concatenate(scores).astype(np.float32)


def _per_head(anchors: Sequence[tuple[float, float]]) -> list[Sequence[tuple[float, float]]]:
    return [anchors[i : i + ANCHORS_PER_HEAD] for i in range(0, len(anchors), ANCHORS_PER_HEAD)]


def _sigmoid(x: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Logistic function, in double: what it rounds away is far below the 2**-20 that fusion counts in."""
    return 1.0 / (1.0 + np.exp(-np.clip(x.astype(np.float64), -80, 80)))
