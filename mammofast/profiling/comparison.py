"""Whether code became slower, as far as the noise of two runs allows to say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mammofast.errors import ProfilingError
from mammofast.profiling.record import Record
from mammofast.profiling.statistics import percentile

SLOWER, FASTER, SAME, UNSURE = "slower", "faster", "no difference", "cannot say"

# Between two runs of the same code a shared machine drifts by several percent; less than this is not worth a word.
_DRIFT = 0.12
# Side by side, drift falls on both alike.
_PAIRED_DRIFT = 0.03
_PAIRED_CHANCE = 0.01
_BLOCKS = 5
# Of the machine itself: more than the drift that verdicts allow for makes them doubtful.
_CALIBRATION = 0.08


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a case. ratio: new time over old. low, high: between which it lies, given the runs' noise."""

    case: str
    verdict: str
    ratio: float
    low: float
    high: float

    def as_facts(self) -> dict[str, str | float]:
        """Return what a case's record says of it."""
        return {"verdict": self.verdict, "ratio": self.ratio, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.case}: {self.verdict}, {self.ratio:.2f} × the old time ({self.low:.2f} to {self.high:.2f})"


def compare(old: Record, new: Record) -> list[Verdict]:
    """Judge the cases that two runs share, by their medians.

    The noise of a run is how far the medians of its fifths lie apart: a run whose speed drifted says little. A case is
    called slower when it is so by more than 12 % and more than the noise; where the noise alone is larger than that,
    nothing can be said.
    """
    before = {case.name: case.samples[case.ours] for case in old.cases}
    return [_judge(case.name, before[case.name], case.samples[case.ours]) for case in new.cases if case.name in before]


def judged(old: Record, new: Record) -> tuple[Record, list[str]]:
    """Return the new record with verdicts in its cases' facts, and sentences for people.

    Raises
    ------
    ProfilingError
        When the two share no case.

    """
    verdicts = {verdict.case: verdict for verdict in compare(old, new)}
    if not verdicts:
        raise ProfilingError(
            f"compare: the old record is of `bench {old.kind}` and has none of the cases just measured; "
            "expected one of the same command"
        )
    sentences = [str(verdict) for verdict in verdicts.values()]
    before, after = (record.calibration.get("core_fp32_gflops") for record in (old, new))
    if before and after and abs(math.log(after / before)) > _CALIBRATION:
        sentences.append(
            f"a core's arithmetic ran at {after / before:.2f} × its old rate: another machine, or a busy one"
        )
    cases = []
    for case in new.cases:
        found = {"compared": verdicts[case.name].as_facts()} if case.name in verdicts else {}
        cases.append(replace(case, facts={**case.facts, **found}))
    return replace(new, cases=tuple(cases)), sentences


def _judge(name: str, old: Sequence[float], new: Sequence[float]) -> Verdict:
    ratio = _median(new) / _median(old)
    noise = 2 * math.hypot(_noise(old), _noise(new))
    low, high = ratio * math.exp(-noise), ratio * math.exp(noise)
    if low > 1 and ratio > 1 + _DRIFT:
        verdict = SLOWER
    elif high < 1 and ratio < 1 / (1 + _DRIFT):
        verdict = FASTER
    else:
        verdict = SAME if noise < math.log1p(_DRIFT) else UNSURE
    return Verdict(name, verdict, ratio, low, high)


def _noise(samples: Sequence[float]) -> float:
    """Return the standard error of a run's median, on a log scale, from the medians of its fifths."""
    if len(samples) < _BLOCKS:
        logs = [math.log(value) for value in samples]
    else:
        edges = [round(i * len(samples) / _BLOCKS) for i in range(_BLOCKS + 1)]
        logs = [math.log(_median(samples[a:b])) for a, b in pairwise(edges)]
    if len(logs) < 2:
        return math.inf
    mean = math.fsum(logs) / len(logs)
    variance = math.fsum((value - mean) ** 2 for value in logs) / (len(logs) - 1)
    return math.sqrt(variance / len(logs))


def compare_pairs(case: str, pairs: Sequence[tuple[float, float]]) -> Verdict:
    """Judge (old, new) times of runs made in turns, by Wilcoxon's signed-rank test on the logarithms of their ratios.

    A difference is called when chance alone would bring it in less than 1 % of all cases and it is more than 3 %.
    With fewer than 8 pairs chance cannot be ruled out.
    """
    logs = sorted(math.log(new / old) for old, new in pairs)
    ratio = (
        math.exp(_median(logs)) if len(logs) % 2 else math.exp((logs[len(logs) // 2 - 1] + logs[len(logs) // 2]) / 2)
    )
    low, high = math.exp(logs[0]), math.exp(logs[-1])
    if signed_rank_chance(logs) > _PAIRED_CHANCE:
        verdict = UNSURE if max(ratio, 1 / ratio) > 1 + _PAIRED_DRIFT else SAME
    elif ratio > 1 + _PAIRED_DRIFT:
        verdict = SLOWER
    elif ratio < 1 / (1 + _PAIRED_DRIFT):
        verdict = FASTER
    else:
        verdict = SAME
    return Verdict(case, verdict, ratio, low, high)


def signed_rank_chance(differences: Sequence[float]) -> float:
    """Return the exact two-sided p of Wilcoxon's signed-rank test; zeros are left out, ties share their ranks' mean.

    With ties the null distribution is that of the shared ranks themselves.
    """
    values = sorted((d for d in differences if d), key=abs)
    ranks: list[int] = []  # doubled, so that shared ones stay whole
    start = 0
    while start < len(values):
        end = start
        while end < len(values) and abs(values[end]) == abs(values[start]):
            end += 1
        ranks += [start + end + 1] * (end - start)
        start = end
    positive = sum(rank for rank, value in zip(ranks, values, strict=True) if value > 0)
    ways = [1] + [0] * sum(ranks)
    for rank in ranks:
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    tail = min(positive, sum(ranks) - positive)
    return min(1.0, 2 * sum(ways[: tail + 1]) / 2.0 ** len(ranks))


def _median(samples: Sequence[float]) -> float:
    return percentile(sorted(samples), 50)
