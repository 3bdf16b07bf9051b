"""A search ends when its budget is spent or its front has ceased to grow."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from hwnas.compute_energy import Spending, Spent
from hwnas.objectives import objectives_of
from hwnas.pareto import ObjectiveScale
from hwnas.stop_config import PlateauConfig, StopConfig
from hwnas.stopping import (
    HypervolumeHistory,
    chance_bound,
    evaluations_needed,
    plateau,
    stop_reason,
)

RULE = PlateauConfig(min_gain=0.01, chance=0.1, confidence=0.9)


@given(k=st.integers(1, 500), confidence=st.floats(0.5, 0.999))
def test_the_bound_is_that_of_clopper_and_pearson(k: int, confidence: float) -> None:
    # the exact one-sided limit at 0 successes of k is a quantile of a beta distribution
    assert chance_bound(k, confidence) == pytest.approx(beta.ppf(confidence, 1, k), rel=1e-9)


@given(
    gains=st.integers(1, 200), chance=st.floats(0.01, 0.5), confidence=st.floats(0.5, 0.99)
)  # fmt: skip
def test_the_run_needed_is_the_shortest_that_bounds_the_chance(
    gains: int, chance: float, confidence: float
) -> None:
    k = evaluations_needed(gains, chance, confidence)
    own = 1 - (1 - confidence) / (gains * (gains + 1))
    # 1 - own is off by rounding, which may move the least k
    assert chance_bound(k, own) <= chance * (1 + 1e-9)
    assert k == 1 or chance_bound(k - 1, own) > chance * (1 - 1e-9)


def test_errors_of_all_runs_add_up_to_what_confidence_leaves() -> None:
    chance, confidence = 0.001, 0.9
    # (1 - chance)^k is the probability that a run goes wrong; rounding k up makes it less
    errors = [(1 - chance) ** evaluations_needed(j, chance, confidence) for j in range(1, 5000)]
    assert 0.099 < sum(errors) <= 0.1


def volumes(gains: list[bool], size: float = 0.05) -> list[float]:
    """Hypervolumes that start at 1 and grow by a share at some evaluations."""
    return list(
        accumulate([1.0, *(1 + size if gain else 1.0 for gain in gains)], lambda a, b: a * b)
    )


def test_a_front_that_stays_is_a_plateau_once_the_run_is_long_enough() -> None:
    needed = evaluations_needed(3, RULE.chance, RULE.confidence)
    # the first evaluation, and two more, gain
    for idle in range(needed + 20):
        found = plateau(volumes([True, False, True] + [False] * idle), RULE)
        assert (found is not None) == (idle >= needed), idle
    assert found is not None
    assert found.evaluations == needed
    assert found.gained == 0


def test_gains_too_small_to_count_may_add_up_to_one_that_does() -> None:
    idle = evaluations_needed(1, RULE.chance, RULE.confidence) + 10
    creeping, creeping_less = (list(1.0 + share * np.arange(idle)) for share in (2e-3, 1e-4))
    assert plateau(creeping, RULE) is None
    found = plateau(creeping_less, RULE)
    assert found is not None
    assert 0 < found.gained < RULE.min_gain


def test_a_search_without_a_front_has_no_plateau() -> None:
    assert plateau([], RULE) is None
    assert plateau([0.0] * 1000, RULE) is None


def test_a_plateau_is_stated_with_its_assumption() -> None:
    text = str(plateau(volumes([False] * 200), PlateauConfig()))
    assert "with 90 % confidence the chance that the next one gains 0.1 % is below 5 %" in text
    assert "if it is no likelier to gain than those were" in text


def stops_wrongly(chances: np.ndarray, rule: PlateauConfig, rng: np.random.Generator) -> bool:
    """Run a search whose evaluations gain with given chances; tell if a plateau is a mistake."""
    gained = rng.random(len(chances)) < chances
    done, run = 1, 0
    for t, gain in enumerate(gained):
        done, run = (done + 1, 0) if gain else (done, run + 1)
        # as `plateau` decides, which is far slower to ask after every evaluation
        if run >= evaluations_needed(done, rule.chance, rule.confidence):
            history = volumes(gained[: t + 1].tolist())
            assert plateau(history, rule) is not None
            assert plateau(history[:-1], rule) is None
            return t + 1 < len(chances) and bool(chances[t + 1] >= rule.chance)
    return False


@pytest.mark.parametrize("decay", [1.0, 0.998], ids=["constant", "falling"])
def test_plateaus_are_as_seldom_wrong_as_they_say_though_always_looked_for(decay: float) -> None:
    """The worst case: a chance just not small enough, for ever or for long."""
    rng = np.random.default_rng(0)
    searches = 300
    chances = np.maximum(RULE.chance * 1.01 * np.ones(2000), 0.4 * decay ** np.arange(2000))
    wrong = sum(stops_wrongly(chances, RULE, rng) for _ in range(searches))
    # three standard deviations of a binomial count
    most = searches * (1 - RULE.confidence)
    assert wrong <= most + 3 * np.sqrt(most * RULE.confidence)


def test_searches_that_gain_no_more_are_stopped() -> None:
    rng = np.random.default_rng(1)
    chances = np.where(np.arange(400) < 50, 0.3, 0.0)
    for _ in range(20):
        gained = (rng.random(400) < chances).tolist()
        assert plateau(volumes(gained), RULE) is not None


def test_hypervolumes_are_those_of_all_evaluations_so_far() -> None:
    objectives = objectives_of(["accuracy", "latency", "energy"])
    scale = ObjectiveScale(objectives, (1.0, 1e-3, 1e-3), (0.0, 1.0, 1.0))
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.random(60), 10 ** rng.uniform(-3, 0.2, (60, 2))])
    history = HypervolumeHistory(scale)
    for row, own in enumerate(values):
        # every seventh failed
        history.add([] if row % 7 == 3 else [own.tolist()])
    counted = np.arange(60) % 7 != 3
    expected = [scale.hypervolume(values[: t + 1][counted[: t + 1]]) for t in range(60)]
    # contributions are added up in another order
    assert history.volumes == pytest.approx(expected, rel=1e-12)


def test_every_point_of_an_evaluation_counts() -> None:
    objectives = objectives_of(["accuracy", "latency"])
    scale = ObjectiveScale(objectives, (1.0, 1e-3), (0.0, 1.0))
    rng = np.random.default_rng(2)
    values = np.stack([rng.random((20, 3)), 10 ** rng.uniform(-3, 0, (20, 3))], axis=2)
    history = HypervolumeHistory(scale)
    for points in values:
        history.add(points.tolist())
    expected = [scale.hypervolume(values[: t + 1].reshape(-1, 2)) for t in range(20)]
    # contributions are added up in another order
    assert history.volumes == pytest.approx(expected, rel=1e-12)


SPENT = [Spending("a", 0.0, 10.0, 8.0), Spending("b", 5.0, 20.0, 12.0)]


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ({}, None),
        ({"seconds": 20.1}, None),
        ({"seconds": 20}, "20 s of 20 s are spent"),
        ({"joules": 50, "cpu_core_power_w": 2.4}, None),
        ({"joules": 50, "cpu_core_power_w": 2.5}, "50 J (modelled) of 50 J are spent"),
        ({"joules": 1}, None),
        ({"plateau": {"chance": 0.01}}, None),
        (
            {"joules": 1e9, "cpu_core_power_w": 1, "plateau": {"chance": 0.2}},
            "plateau: the last 14 ",
        ),
    ],
    ids=str,
)
def test_whichever_budget_is_spent_first_is_the_reason(
    stop: dict[str, object], reason: str | None
) -> None:
    config = StopConfig.model_validate(stop)
    spent = Spent()
    for spending in SPENT:
        spent.add(spending)
    found = stop_reason(config, spent, volumes([False] * 20))
    assert found is None if reason is None else found is not None and found.startswith(reason)
