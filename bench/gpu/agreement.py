"""Findings on the card beside the CPU's, image by image: how many match, and by how much.

python -m bench.gpu.agreement CPU_RESULTS DEVICE_RESULTS --threshold 0.3 --json FILE
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.screening import MATCH_IOU, box_iou, closest_pairs, mask_iou
from mammofast.records import Finding
from mammofast.screening import open_results
from mammofast.screening.entry import DONE, Entry

_TOUCHES = 0.3  # of a detection with a finding, to be one of those that it came from


def agreement(cpu: Sequence[Entry], device: Sequence[Entry], threshold: float) -> dict[str, Any]:
    """Compare results of the same images.

    threshold: of a detection's confidence; an unmatched finding is listed with how far the strongest of those it came
    from is above it.

    Returns
    -------
    findings of each, the share of all that is matched (one to one, at IoU >= 0.95, the closest first), the matched
    masks' Dice, the unmatched, and in how many images boxes, findings and all that was detected are equal.
    """
    ours, theirs = _by_image(device), _by_image(cpu)
    images = sorted(ours.keys() | theirs.keys())
    dices: list[float] = []
    unmatched: list[dict[str, Any]] = []
    same_boxes = same_detections = 0
    for image in images:
        sides = [entries.get(image) for entries in (theirs, ours)]
        found = [[] if entry is None else [stored.finding() for stored in entry.findings] for entry in sides]
        pairs = closest_pairs(*([finding.box for finding in side] for side in found), MATCH_IOU)
        dices += [_dice(found[0][i], found[1][j]) for i, j in pairs]
        for where, entry, mine, others, taken in (
            ("cpu", sides[0], found[0], found[1], {i for i, _ in pairs}),
            ("device", sides[1], found[1], found[0], {j for _, j in pairs}),
        ):
            for number, finding in enumerate(mine):
                if number not in taken and entry is not None:
                    unmatched.append(_unmatched(where, entry, finding, others, threshold))
        if None not in sides:
            same_boxes += [each.box for each in found[0]] == [each.box for each in found[1]]
            same_detections += sides[0].detections == sides[1].detections  # type: ignore[union-attr]
    total = 2 * len(dices) + len(unmatched)
    return {
        "images": len(images),
        "images_of_one_side_only": len(ours.keys() ^ theirs.keys()),
        "findings_cpu": sum(len(entry.findings) for entry in theirs.values()),
        "findings_device": sum(len(entry.findings) for entry in ours.values()),
        "matched": 2 * len(dices) / total if total else None,
        "dice_mean": sum(dices) / len(dices) if dices else None,
        "dice_worst": min(dices) if dices else None,
        "images_with_equal_boxes": same_boxes,
        "images_with_equal_detections": same_detections,
        "unmatched": unmatched,
    }


def _by_image(entries: Sequence[Entry]) -> dict[str, Entry]:
    return {str(entry.image.sop_uid): entry for entry in entries if entry.status == DONE}


def _dice(a: Finding, b: Finding) -> float:
    iou = mask_iou((a.box, a.mask), (b.box, b.mask))
    return 2 * iou / (1 + iou) if a.area_px or b.area_px else 1.0


def _unmatched(
    where: str, entry: Entry, finding: Finding, others: Sequence[Finding], threshold: float
) -> dict[str, Any]:
    above = [
        float(row[5]) - threshold for row in entry.detection_rows() if box_iou(tuple(row[1:5]), finding.box) >= _TOUCHES
    ]
    return {
        "image": str(entry.image.content_sha256)[:12],
        "only": where,
        "box": list(finding.box),
        "confidence": finding.confidence,
        "above_threshold": max(above, default=None),
        "nearest_iou": max((float(box_iou(finding.box, other.box)) for other in others), default=0.0),
    }


def main(arguments: list[str] | None = None) -> int:
    """Compare two folders of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cpu", type=Path)
    parser.add_argument("device", type=Path)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args(arguments)
    sides = [list(open_results(folder).entries()) for folder in (options.cpu, options.device)]
    options.json.write_text(json.dumps(agreement(*sides, options.threshold), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
