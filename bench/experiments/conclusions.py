"""What measured systems say of the papers' conclusions: means with intervals, paired tests, and a verdict in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.experiments import groups
from bench.experiments.runs import Measured, means
from bench.experiments.systems import Comparison
from mammofast.evaluation.statistics import bootstrap_interval, draw_groups, wilcoxon

HOLDS, REVERSED, UNKNOWN = "holds", "the other way round", "too small to tell"
_LEVEL = 0.05
SAMPLES = 2000
Values = npt.NDArray[np.float64]


def of_comparison(comparison: Comparison, measured: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Return a comparison's table, and what is to be said of each of the paper's conclusions."""
    dice = {name: means(seeds, "dice") for name, seeds in measured.items()}
    owners = next(iter(measured.values()))[0].patients
    table = {
        name: {
            "parameters": seeds[0].parameters,
            **_mean("dice", dice[name], owners),
            "dice_of_seeds": [float(np.mean(each.dice)) for each in seeds],
            "iou": float(means(seeds, "iou").mean()),
            "sensitivity": float(means(seeds, "sensitivity").mean()),
            "paper_dice": comparison.paper[name] / 100,
        }
        for name, seeds in measured.items()
    }
    return {
        "case": comparison.title,
        "reason": "which of the paper's conclusions hold on phantoms",
        "images": len(owners),
        "patients": len(set(owners)),
        "seeds": len(next(iter(measured.values()))),
        "table": table,
        "conclusions": [
            {**each, "difference_of_seeds": _of_seeds(measured[each["better"]], measured[each["worse"]])}
            for each in _conclusions(comparison.claims, dice, owners)
        ],
        "dice": {name: np.sort(values).round(4).tolist() for name, values in dice.items()},
    }


def of_groups(records: Sequence[Mapping[str, Any]], one_stage: Sequence[Measured]) -> dict[str, Any]:
    """Return P4's groups and its λ sweep; of group A only where its network was trained."""
    names = list(records[0]["ways"])
    with_mass = [record for record in records if record["masses"]]
    owners = [record["patient"] for record in with_mass]
    a = "A: one stage"
    assert [each.patients for each in one_stage] == [owners] * len(one_stage)
    dice = {a: means(one_stage, "dice")} if one_stage else {}
    dice |= {name: np.array([record["ways"][name]["dice"] for record in with_mass]) for name in names}
    table = {name: _mean("dice", values, owners) | _detection(records, name) for name, values in dice.items()}
    if one_stage:
        table[a]["dice_of_seeds"] = [float(np.mean(each.dice)) for each in one_stage]
    b = [name for name in names if name.startswith("B")]
    best_b = max(b, key=lambda name: table[name]["dice"])
    usual_b = "B: 832×416 alone" if "B: 832×416 alone" in b else best_b
    c = groups.fused(0.6)
    claims = (
        (best_b, a, "two stages beat one, already at a single scale (its best)"),
        (c, a, "two stages with fusion beat one"),
        (c, usual_b, "fusion beats the single scale that anchors are of"),
        (c, best_b, "fusion beats the best single scale"),
        (c, min(b, key=lambda name: table[name]["dice"]), "fusion beats the worst single scale"),
    )
    return {
        "case": "P4: one stage, two stages, two stages with fusion; λ",
        "reason": "which of the paper's conclusions hold on phantoms",
        "images": len(records),
        "images_with_mass": len(with_mass),
        "patients": len({record["patient"] for record in records}),
        "masses": sum(record["masses"] for record in records),
        "table": table,
        "conclusions": _conclusions([claim for claim in claims if {*claim[:2]} <= dice.keys()], dice, owners),
        "sweep": {f"{each:g}": table[groups.fused(each)] for each in groups.LAMBDAS},
        "dice": {name: np.sort(values).round(4).tolist() for name, values in dice.items()},
    }


def _detection(records: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return sensitivity and false positives per image, with intervals; nothing of a way that finds no boxes."""
    if name not in records[0]["ways"]:
        return {}
    owners = [record["patient"] for record in records]
    columns = np.array([[r["ways"][name]["found"], r["masses"], r["ways"][name]["false"], 1] for r in records], float)
    _, which = np.unique(owners, return_inverse=True)
    n = int(which.max()) + 1
    sums = np.stack([np.bincount(which, column, n) for column in columns.T], axis=1)
    drawn = np.vstack([np.ones((1, n)), draw_groups(n, SAMPLES, 0)]) @ sums
    drawn = drawn[drawn[:, 1] > 0]
    rates = drawn[:, [0, 2]] / drawn[:, [1, 3]]
    low, high = np.percentile(rates[1:], [2.5, 97.5], axis=0)
    return {
        "sensitivity": float(rates[0, 0]),
        "sensitivity_interval": [float(low[0]), float(high[0])],
        "fp_per_image": float(rates[0, 1]),
        "fp_interval": [float(low[1]), float(high[1])],
    }


def _mean(name: str, values: Values, owners: Sequence[str]) -> dict[str, Any]:
    return {name: float(values.mean()), f"{name}_interval": list(bootstrap_interval(values, owners, samples=SAMPLES))}


def _of_seeds(better: Sequence[Measured], worse: Sequence[Measured]) -> list[float]:
    return [float(np.mean(a.dice) - np.mean(b.dice)) for a, b in zip(better, worse, strict=True)]


def _conclusions(
    claims: Sequence[tuple[str, str, str]], dice: Mapping[str, Values], owners: Sequence[str]
) -> list[dict[str, Any]]:
    names = sorted(set(owners))
    patient_of = np.array([names.index(owner) for owner in owners])

    def by_patient(values: Values) -> Values:
        return np.bincount(patient_of, values) / np.bincount(patient_of)

    found = []
    for better, worse, words in claims:
        difference = dice[better] - dice[worse]
        found.append(
            {
                "claim": words,
                "better": better,
                "worse": worse,
                "difference": float(difference.mean()),
                "interval": list(bootstrap_interval(difference, owners, samples=SAMPLES)),
                "p": wilcoxon(by_patient(dice[better]), by_patient(dice[worse])),
            }
        )
    for each, corrected in zip(found, holm([each["p"] for each in found]), strict=True):
        each["p_corrected"] = corrected
        each["verdict"] = verdict(each["interval"], corrected)
    return found


def verdict(interval: Sequence[float], p: float) -> str:
    """Return what may be said of a difference."""
    low, high = interval
    if p < _LEVEL and low > 0:
        return HOLDS
    if p < _LEVEL and high < 0:
        return REVERSED
    return UNKNOWN


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, by Holm's method."""
    corrected, most = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        most = max(most, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = most
    return corrected


def _of_each(conclusion: Mapping[str, Any]) -> str:
    """Return how often seeds, one by one, say the same: intervals and tests are of patients, not of trainings."""
    seeds = conclusion.get("difference_of_seeds", ())
    same = sum(each * conclusion["difference"] > 0 for each in seeds)
    return f" (of the same sign in {same} of {len(seeds)} seeds)" if seeds else ""


def as_text(case: Mapping[str, Any]) -> str:
    """Return a case to read."""
    lines = [case["case"]]
    for name, row in case["table"].items():
        low, high = row["dice_interval"]
        text = f"  {name:32} Dice {row['dice']:.3f} ({low:.3f} to {high:.3f})"
        if "sensitivity_interval" in row:
            text += f"  sensitivity {row['sensitivity']:.3f} at {row['fp_per_image']:.3f} a image"
        if "paper_dice" in row:
            text += f"  paper {row['paper_dice']:.3f}"
        lines.append(text)
    for each in case["conclusions"]:
        low, high = each["interval"]
        lines.append(
            f"  {each['claim']}: {each['difference']:+.3f} ({low:+.3f} to {high:+.3f}), p {each['p_corrected']:.3f}: "
            f"{each['verdict']}{_of_each(each)}"
        )
    return "\n".join(lines)
