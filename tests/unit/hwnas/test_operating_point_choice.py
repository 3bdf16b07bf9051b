"""The operating points of a device, against the best three by brute force."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.objectives import OBJECTIVES
from hwnas.operating_point_choice import choose_operating_points
from hwnas.pareto import ObjectiveScale
from hwnas.variants import NetworkForm, Variant

OBJECTIVES_USED = tuple(OBJECTIVES[name] for name in ("accuracy", "latency"))
SCALE = ObjectiveScale(OBJECTIVES_USED, ideal=(1.0, 1e-6), reference=(0.5, 1.0))


def variant(accuracy: float, latency_s: float, energy_j: float | None = None) -> Variant:
    form = NetworkForm(f"{accuracy}", "plain", "float32", "c.safetensors", ("a.onnx",))
    metrics = {
        "validation_accuracy": Metric(accuracy, "measured"),
        "latency_s": Metric(latency_s, "measured"),
        "energy_j": Metric(latency_s if energy_j is None else energy_j, "measured"),
    }
    return Variant(form, ExitPolicy(()), (1.0,), "host", metrics)


def values(variants: list[Variant]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    rows = [
        [v.metrics["validation_accuracy"].value, v.metrics["latency_s"].value] for v in variants
    ]
    return np.array(rows)


@pytest.mark.parametrize("seed", range(20))
def test_three_points_have_nearly_the_hypervolume_of_the_best_three(seed: int) -> None:
    rng = np.random.default_rng(seed)
    accuracies = np.sort(rng.uniform(0.5, 1, 8))
    latencies = np.sort(10 ** rng.uniform(-6, 0, 8))
    front = [variant(a, t) for a, t in zip(accuracies, latencies, strict=True)]
    chosen = choose_operating_points(front, OBJECTIVES_USED, SCALE)
    best = max(SCALE.hypervolume(values(list(three))) for three in combinations(front, 3))
    # what greedy choice of a submodular function is sure of
    assert SCALE.hypervolume(values(list(chosen.values()))) >= (1 - 1 / np.e) * best
    assert list(chosen) == ["high", "balanced", "low"]
    by_accuracy = [v.metrics["validation_accuracy"].value for v in chosen.values()]
    assert by_accuracy == sorted(by_accuracy, reverse=True)


def test_a_front_of_two_is_high_and_low_and_one_alone_is_high() -> None:
    slow, fast = variant(0.9, 1e-2), variant(0.8, 1e-3)
    assert choose_operating_points([fast, slow], OBJECTIVES_USED, SCALE) == {
        "high": slow,
        "low": fast,
    }
    assert choose_operating_points([fast], OBJECTIVES_USED, SCALE) == {"high": fast}


def test_points_are_of_one_kind_of_energy_the_measured_one_if_any() -> None:
    best, fast, cheap = variant(0.9, 1e-2), variant(0.8, 1e-4), variant(0.7, 1e-5)
    modelled = {**fast.metrics, "energy_j": Metric(1e-9, "modelled")}
    mixed = [best, replace(fast, metrics=modelled), cheap]
    assert choose_operating_points(mixed, OBJECTIVES_USED, SCALE) == {"high": best, "low": cheap}


def test_a_less_accurate_point_that_takes_more_energy_is_not_switched_to() -> None:
    # the fast one is on the front by its latency alone
    best, fast, cheap = variant(0.9, 1e-2, 1e-3), variant(0.8, 1e-4, 5e-3), variant(0.7, 1e-3, 1e-4)
    chosen = choose_operating_points([best, fast, cheap], OBJECTIVES_USED, SCALE)
    assert chosen == {"high": best, "low": cheap}
