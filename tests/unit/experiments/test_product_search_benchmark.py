"""The comparison of whole searches: by hand, and one real run of the script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments.benchmarks.product_comparison import (
    Box,
    Contender,
    hypervolumes,
    ratio_interval,
    savings_of_exits,
    savings_over,
)
from hwnas.accuracy_comparison import compare_accuracy
from hwnas.objectives import OBJECTIVES

SCRIPT = Path(__file__).parents[3] / "experiments" / "benchmarks" / "product_search.py"
TWO = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])


def contender(name: str, validation: float, right: int, latency_s: float) -> Contender:
    """Return two networks that get the first so many of 100 test samples right."""
    correct = np.tile(np.arange(100) < right, (2, 1))
    return Contender(name, validation, correct, {"latency_s": latency_s})


def test_the_box_goes_from_chance_to_one_and_holds_every_cost() -> None:
    designed = [contender("slow", 0.9, 90, 5e-2), contender("fast", 0.5, 50, 1e-5)]
    box = Box.around(TWO, (1.0, 1e-4), (0.7, 1e-2), 0.1, designed)
    assert box.scale.ideal == (1.0, 1e-5)
    assert box.scale.reference == pytest.approx((0.1, 5.5e-2))
    assert box.hypervolume(designed[:1]) > 0


def test_a_cost_to_maximize_is_widened_the_other_way() -> None:
    objectives = (OBJECTIVES["accuracy"], OBJECTIVES["battery_days"])
    found = Contender("x", 0.9, np.ones((1, 2), np.bool_), {"battery_days": 5.0})
    box = Box.around(objectives, (1.0, 400.0), (0.7, 10.0), 0.1, [found])
    assert box.scale.ideal == (1.0, 400.0)
    assert box.scale.reference == pytest.approx((0.1, 5.0 / 1.1))


def test_hypervolume_counts_test_accuracy_and_the_logarithm_of_the_latency() -> None:
    box = Box.around(TWO, (1.0, 1e-4), (0.7, 1e-2 / 1.1), 0.0, [])
    # accuracy 0.8 of 1, one of two decades; validation accuracy plays no part
    front = [contender("a", 0.99, 80, 1e-3)]
    found = hypervolumes(box, {"tpe": [front, []]}, [contender("b", 0.1, 40, 1e-3)])
    assert found == {
        "tpe": pytest.approx([0.4, 0.0]),
        "hand-designed": pytest.approx([0.2, 0.2]),
    }


def test_a_contender_survives_json() -> None:
    found = contender("net", 0.9, 85, 1e-3)
    again = Contender.from_dict(json.loads(json.dumps(found.to_dict())))
    assert (again.name, again.validation_accuracy, again.metrics) == ("net", 0.9, found.metrics)
    np.testing.assert_array_equal(again.correct, found.correct)


def test_the_fastest_member_as_accurate_on_validation_is_the_one_compared() -> None:
    network = contender("net", 0.9, 85, 1e-3)
    front = [
        contender("fastest", 0.89, 99, 1e-5),
        contender("fast", 0.91, 86, 2e-4),
        contender("slow", 0.95, 95, 9e-4),
    ]
    too_bad = [contender("bad", 0.5, 99, 1e-6)]
    found = savings_over(network, [front, too_bad])
    assert found["latency_ratio"] == [pytest.approx(0.2), None]
    ((difference, low, high),) = found["test_difference"]
    paired = compare_accuracy("net", front[1].correct, network.correct)
    assert (difference, low, high) == (paired.difference, paired.low, paired.high)
    assert difference == pytest.approx(0.01)


def test_the_interval_of_a_ratio_is_the_t_interval_of_its_logarithm() -> None:
    found = ratio_interval([2.0, 4.0, 8.0], [1.0, 1.0, 1.0])
    half = stats.t.ppf(0.975, 2) * np.log(2) / np.sqrt(3)
    assert found == pytest.approx((4.0, 4.0 / np.exp(half), 4.0 * np.exp(half)))
    same = stats.ttest_1samp(np.log([2.0, 4.0, 8.0]), 0).confidence_interval(0.95)
    assert found is not None
    assert found[1:] == pytest.approx((np.exp(same.low), np.exp(same.high)))


def test_one_pair_tells_a_ratio_without_an_interval_and_a_zero_none() -> None:
    assert ratio_interval([3.0], [2.0]) == (1.5, 0.0, np.inf)
    assert ratio_interval([3.0, 1.0], [2.0, 0.0]) is None
    assert ratio_interval([], []) is None


def run(*options: str, **environment: str) -> str:
    kept = {key: value for key, value in os.environ.items() if key != "HWNAS_DATA"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    ).stdout


def test_without_data_it_says_so_and_ends_well() -> None:
    assert "HWNAS_DATA" in run()


@pytest.mark.slow
def test_a_quick_run_searches_twice_and_keeps_what_it_did(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out.json"
    settings = ("--quick", "--seeds=1", "--sampler=tpe", "--set=target=host-onnxruntime")
    options = (*settings, f"--runs={runs}", f"--json={out}")
    cache = {"HWNAS_CACHE": str(tmp_path / "cache")}
    printed = run(*options, **cache)
    assert "quickstart: 1 search seeds" in printed
    (found,) = json.loads(out.read_text())
    assert set(found["hypervolume"]) == {"tpe", "random", "hand-designed"}
    assert all(0 <= value < 1 for of_seeds in found["hypervolume"].values() for value in of_seeds)
    (spent,) = found["cpu_s"]
    # a smoke test's searches are mostly start-up; equal they are made where random is cheaper
    assert spent["random"] > 0.5 * spent["tpe"] > 0
    finished = {path: path.stat().st_mtime_ns for path in runs.rglob("front.json")}
    assert run(*options, **cache).splitlines()[:4] == printed.splitlines()[:4]
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("front.json")} == finished


def with_energy(found: Contender, energy_j: float, *, early: bool) -> Contender:
    return replace(found, metrics={**found.metrics, "energy_j": energy_j}, answers_early=early)


def test_early_exits_are_compared_at_the_accuracy_of_the_best_static_member() -> None:
    front = [
        with_energy(contender("best static", 0.8, 80, 1e-3), 4e-3, early=False),
        with_energy(contender("cheap static", 0.7, 70, 1e-4), 1e-3, early=False),
        with_energy(contender("early", 0.8, 75, 1e-3), 3e-3, early=True),
        with_energy(contender("costly early", 0.9, 90, 1e-3), 8e-3, early=True),
        with_energy(contender("worse early", 0.7, 70, 1e-3), 2e-3, early=True),
    ]
    only_static, only_early = front[:1], front[2:]
    found = savings_of_exits([front, only_static, only_early])
    assert found["energy_ratio"] == [pytest.approx(0.75), None]
    ((difference, low, high),) = found["test_difference"]
    assert difference == pytest.approx(-0.05)
    assert low < -0.05 < high
