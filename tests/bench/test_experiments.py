"""The written experiment: its verdicts on numbers made for them, and all of it once, small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning_fabric", reason="needs the extra [train]")
pytest.importorskip("matplotlib")
from bench.experiments import conclusions, groups
from bench.experiments.runs import RECIPE, Measured
from bench.experiments.systems import ABLATION, LOSSES, ONE_STAGE, Comparison
from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task

ROOT = Path(__file__).parents[2]


def test_holms_correction():
    # By hand: 4 × 0.005, 3 × 0.01, 2 × 0.03, and never less than one before it.
    assert conclusions.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert conclusions.holm([0.9, 0.8]) == [1.0, 1.0]
    assert conclusions.holm([]) == []


@pytest.mark.parametrize(
    "interval, p, expected",
    [
        ((0.01, 0.2), 0.01, conclusions.HOLDS),
        ((-0.2, -0.01), 0.01, conclusions.REVERSED),
        ((-0.01, 0.2), 0.01, conclusions.UNKNOWN),
        ((0.01, 0.2), 0.05, conclusions.UNKNOWN),
    ],
)
def test_verdicts(interval, p, expected):
    assert conclusions.verdict(interval, p) == expected


def scored(values, seeds=2):
    owners = [f"patient {k // 2}" for k in range(len(values))]
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 0.01, len(values)) for _ in range(seeds)]
    return [Measured(owners, *3 * [list(np.clip(values + each, 0, 1))], parameters=1, epochs=1) for each in noise]


def test_what_is_better_is_found_and_what_is_not_is_not_claimed():
    rng = np.random.default_rng(1)
    middle = rng.uniform(0.3, 0.7, 60)
    comparison = Comparison(
        "",
        {"good": {}, "bad": {}, "as bad": {}},
        (("good", "bad", "1"), ("bad", "good", "2"), ("bad", "as bad", "3")),
        dict.fromkeys(("good", "bad", "as bad"), 50.0),
    )
    found = {"good": scored(middle + 0.1), "bad": scored(middle), "as bad": scored(middle)}
    case = conclusions.of_comparison(comparison, found)
    verdicts = [each["verdict"] for each in case["conclusions"]]
    assert verdicts == [conclusions.HOLDS, conclusions.REVERSED, conclusions.UNKNOWN]
    assert case["conclusions"][0]["difference"] == pytest.approx(0.1, abs=0.01)
    assert case["conclusions"][0]["difference_of_seeds"] == pytest.approx([0.1, 0.1], abs=0.01)
    assert "(of the same sign in 2 of 2 seeds)" in conclusions.as_text(case).splitlines()[4]
    assert case["table"]["good"]["dice"] == pytest.approx(middle.mean() + 0.1, abs=0.01)
    assert (case["images"], case["patients"]) == (60, 30)


def test_every_system_is_one_that_can_be_trained_and_every_claim_is_of_systems():
    for changes in [*ABLATION.systems.values(), *LOSSES.systems.values(), ONE_STAGE]:
        recipe = read_recipe(RECIPE, changes)
        make_task(recipe, recipe.stages[-1]).network()
    for comparison in (ABLATION, LOSSES):
        assert set(comparison.paper) == set(comparison.systems)
        for better, worse, _ in comparison.claims:
            assert {better, worse} <= set(comparison.systems)


def test_all_of_it_small_and_a_second_time_for_nothing(tmp_path, elsewhere):
    command = [sys.executable, "-m", "bench.experiments", tmp_path / "data", "--quick", "--seeds", "1"]
    command += ["--json", tmp_path / "found.json", "--figures", tmp_path / "figures"]
    # bench is found behind the installed package.
    path = os.pathsep.join([elsewhere["env"]["PYTHONPATH"], str(ROOT)])
    options = elsewhere | {"env": elsewhere["env"] | {"PYTHONPATH": path}}
    done = subprocess.run(command, **options, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ablation, losses, grouped = json.loads((tmp_path / "found.json").read_text())["cases"]
    assert set(ablation["table"]) == set(ABLATION.systems)
    assert set(losses["table"]) == set(LOSSES.systems)
    ways = {f"C: all scales fused, λ = {each:g}" for each in groups.LAMBDAS}
    assert ways < set(grouped["table"])
    for case in (ablation, losses, grouped):
        for each in case["conclusions"]:
            assert each["verdict"] in (conclusions.HOLDS, conclusions.REVERSED, conclusions.UNKNOWN)
            assert each["interval"][0] <= each["interval"][1]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "ablation.svg",
        "groups.svg",
        "losses.svg",
    ]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*") if path.is_file()}
    again = subprocess.run(command, **options, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads((tmp_path / "found.json").read_text())["cases"][0]["table"] == ablation["table"]
