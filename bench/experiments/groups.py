"""P4's three groups and its λ sweep: every image detected once at all scales, then fused and segmented in each way.

A    one stage: a network segments the whole image
B    two stages, a single scale: each box that is left after suppression is a candidate
C    two stages, all scales fused by eq. 1 at λ
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.accuracy.fusion import parameters_of
from mammofast import open_bundle, ops
from mammofast.bundles import Bundle, load_bundle
from mammofast.datasets import Dataset
from mammofast.datasets.images import source_of
from mammofast.engine import load_engine
from mammofast.evaluation import dice, label_boxes, match_boxes
from mammofast.methods.two_stage import TwoStage, TwoStageParameters
from mammofast.records import Box, ImageSource, tight_box
from mammofast.settings import Settings

LAMBDAS = (0.0, 0.5, 0.6, 0.7)
Mask = npt.NDArray[np.bool_]


def fused(threshold: float) -> str:
    """Return the name of group C at one λ."""
    return f"C: all scales fused, λ = {threshold:g}"


def alone(scale: tuple[int, int]) -> str:
    """Return the name of group B at one scale."""
    return f"B: {scale[0]}×{scale[1]} alone"


def ways(parameters: TwoStageParameters) -> list[str]:
    """Return the names of all two-stage ways."""
    return [*(alone(scale) for scale in parameters.scales), *(fused(each) for each in LAMBDAS)]


def candidates(detections: npt.NDArray[np.float32], shape: tuple[int, int], p: TwoStageParameters) -> Iterator[Any]:
    """Yield each way's name, boxes and confidences."""
    scales, boxes, confidences = detections[:, 0], np.ascontiguousarray(detections[:, 1:5]), detections[:, 5].copy()
    for number, scale in enumerate(p.scales):
        chosen = scales == number
        yield alone(scale), boxes[chosen], confidences[chosen]
    for threshold in LAMBDAS:
        found = ops.fuse_boxes(boxes, confidences, len(p.scales), shape, threshold)
        yield fused(threshold), found.boxes, found.confidence


class Segmenter:
    """The demo bundle's second stage for candidates of any origin, as :class:`mammofast.methods.two_stage.TwoStage`."""

    def __init__(self, parameters: TwoStageParameters, engines: Mapping[str, Any]) -> None:
        self._p, self._engine = parameters, engines["segmenter"]
        self._level = TwoStage(parameters, engines, Settings()).detection_level

    def __call__(self, image: ImageSource, boxes: npt.NDArray[Any], known: dict[Box, Any]) -> list[tuple[Box, Mask]]:
        """Return each candidate's window and the mask in it. known: what this image's candidates gave before."""
        p = self._p
        table = image.grey_table(p.grey)
        found = []
        for row in boxes:
            x_min, y_min, x_max, y_max = map(int, np.rint(row))
            dx, dy = round((x_max - x_min) * p.crop_margin), round((y_max - y_min) * p.crop_margin)
            rows, cols = image.shape
            window = (max(x_min - dx, 0), max(y_min - dy, 0), min(x_max + dx, cols), min(y_max + dy, rows))
            if window not in known:
                known[window] = self._segmented(image, window, table, known)
            found.append((window, known[window]))
        return found

    def _segmented(self, image: ImageSource, window: Box, table: Any, known: dict[Any, Any]) -> Mask:
        p = self._p
        if "contrast" not in known:
            known["contrast"] = p.contrast.window(image.read(level=self._level(image.shape)), table)
        low, high = known["contrast"]
        crop = ops.segmentation_inputs([image.read(window=window)], [table], [low], [high], p.crop_shape)
        sides = (window[3] - window[1], window[2] - window[0])
        whole = np.array([[0, 0, sides[1], sides[0]]], np.int32)
        return ops.paste_masks(self._engine.run({"crop": crop})["mask"][:, 0], whole, sides, p.mask_threshold)


def measure_two_stages(
    tested: Dataset, kept: Path, before_each: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Return a record of each image: patient, masses, and of each way its Dice, its hits and false positives.

    kept: a file of lines of JSON, one an image; what is there is not measured again. before_each: called before every
    image, and may raise.
    """
    done = {}
    if kept.exists():
        done = {record["name"]: record for record in map(json.loads, kept.read_text().splitlines())}
    if len(done) < len(tested):
        bundle = load_bundle("demo")
        parameters = parameters_of(bundle)
        with open_bundle("demo", device="cpu") as screener, kept.open("a") as file:
            segmenter = Segmenter(parameters, _engines(bundle))
            for sample in tested:
                if sample.name not in done:
                    before_each()
                    done[sample.name] = _measured(sample, screener, segmenter, parameters)
                    file.write(json.dumps(done[sample.name]) + "\n")
                    file.flush()
    return [done[sample.name] for sample in tested]


def _engines(bundle: Bundle) -> dict[str, Any]:
    networks = bundle.networks.items()
    return {name: load_engine(bundle.read(name), made.backend, "cpu", made.precision) for name, made in networks}


def _measured(sample: Any, screener: Any, segmenter: Segmenter, p: TwoStageParameters) -> dict[str, Any]:
    image = source_of(sample)
    result = screener.screen(image)
    labels = sample.masses(image.shape)
    truth = label_boxes(labels)
    record: dict[str, Any] = {"name": sample.name, "patient": sample.patient, "masses": len(truth), "ways": {}}
    known: dict[Any, Any] = {}
    for name, boxes, confidences in candidates(result.detections, image.shape, p):
        segmented = segmenter(image, boxes, known)
        tight = [tight_box(mask, *window[:2]) if mask.any() else window for window, mask in segmented]
        found = np.array(tight, np.int64).reshape(-1, 4)
        hits = match_boxes(found, confidences, truth)
        record["ways"][name] = {
            "found": int((hits >= 0).sum()),
            "false": int((hits < 0).sum()),
            "dice": dice(_union(segmented, image.shape), labels > 0) if len(truth) else None,
        }
        if name == fused(p.fusion_threshold):
            # What is compared here is what the program reports.
            assert np.array_equal(_union(segmented, image.shape), result.mask), sample.name
    return record


def _union(segmented: list[tuple[Box, Mask]], shape: tuple[int, int]) -> Mask:
    whole = np.zeros(shape, bool)
    for (x_min, y_min, x_max, y_max), mask in segmented:
        whole[y_min:y_max, x_min:x_max] |= mask
    return whole


def one_stage(measured: Any, records: list[Mapping[str, Any]]) -> list[float]:
    """Return group A's Dice of the images with a mass, in the order of the records'."""
    with_mass = [record["patient"] for record in records if record["masses"]]
    assert with_mass == measured.patients
    return list(measured.dice)
