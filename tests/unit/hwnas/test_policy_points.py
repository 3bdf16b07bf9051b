"""What candidates offer to a study, against sums by hand and brute force over fronts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.candidate_training import SplitResult, TrainingOutcome
from hwnas.costs import ArchitectureCosts
from hwnas.exit_policy import ExitPolicy
from hwnas.objectives import Constraint, objectives_of
from hwnas.pareto import ObjectiveScale
from hwnas.policy_curve import CurvePoint
from hwnas.policy_points import offer_of, with_best_policies
from hwnas.study import Evaluated, Point
from latency_predictors import EnergyRange, Prediction
from search_spaces import Architecture

OBJECTIVES = objectives_of(["accuracy", "latency"])
SCALE = ObjectiveScale(OBJECTIVES, (1.0, 1e-3), (0.0, 1.0))
MIN_ACCURACY = Constraint("min_accuracy", "validation_accuracy", 0.9, "", 1.0, is_minimum=True)
MEAN_POWER = Constraint(
    "min_inferences_per_joule", "inferences_per_joule", 400.0, "1/J", 1.0, True, of_mean=True
)


def prediction(mean: float) -> Prediction:
    return Prediction(mean, 0.0, mean, mean, True)


# 1 ms and 3 ms; 1 W
COSTS = ArchitectureCosts(
    stage_latency_s=(prediction(1e-3), prediction(3e-3)),
    stage_energy_j=(EnergyRange(1e-3, 1e-3, 1e-3), EnergyRange(3e-3, 3e-3, 3e-3)),
    latency_s=prediction(4e-3),
    energy_j=EnergyRange(4e-3, 4e-3, 4e-3),
    flash_bytes=prediction(1e5),
    peak_ram_bytes=prediction(1e4),
)


def point(accuracy: float, early: float) -> CurvePoint:
    """Return a policy by its accuracy and the share that leaves at the first of two exits."""
    cost = 1e-3 + (1 - early) * 3e-3
    return CurvePoint(ExitPolicy((accuracy,)), accuracy, cost, (early, 1 - early))


def trained(curve: Sequence[CurvePoint], configured: int) -> TrainingOutcome:
    own = curve[configured]
    validation = SplitResult(1000, own.accuracy, (0.7, 0.95), own.exit_shares)
    return TrainingOutcome(
        policy=own.policy, curve=tuple(curve), max_accuracy_drop=0.01, validation=validation
    )


CURVE = (point(0.96, 0.1), point(0.94, 0.5), point(0.85, 0.8), point(0.7, 1.0))


def test_every_policy_of_the_curve_is_a_point_of_predicted_costs() -> None:
    offer = offer_of(trained(CURVE, 1), COSTS, OBJECTIVES, [])
    assert offer.values == pytest.approx((0.94, 2.5e-3))
    assert offer.outcome.policy == CURVE[1].policy
    wanted = [(0.96, 3.7e-3), (0.94, 2.5e-3), (0.85, 1.6e-3), (0.7, 1e-3)]
    assert [p for p in offer.points if p] == [pytest.approx(w) for w in wanted]


def test_points_beyond_a_limit_are_not_offered() -> None:
    offer = offer_of(trained(CURVE, 1), COSTS, OBJECTIVES, [MIN_ACCURACY])
    assert [p is None for p in offer.points] == [False, False, True, True]
    assert offer.violations["min_accuracy"] == pytest.approx(-0.04 / 0.9)


def test_a_configured_policy_beyond_a_limit_gives_way_to_the_most_accurate_one_within() -> None:
    # at 1 W, 2.5 ms or less meet 400 inferences per joule
    offer = offer_of(trained(CURVE, 0), COSTS, OBJECTIVES, [MEAN_POWER])
    assert offer.outcome.policy == CURVE[1].policy
    assert offer.outcome.max_accuracy_drop == pytest.approx(0.95 - 0.94)
    assert offer.values == pytest.approx((0.94, 2.5e-3))
    assert offer.violations["min_inferences_per_joule"] <= 1e-12


def test_where_no_policy_meets_the_limits_the_configured_one_stands_with_its_violation() -> None:
    curve = (point(0.8, 0.1), point(0.7, 1.0))
    offer = offer_of(trained(curve, 1), COSTS, OBJECTIVES, [MIN_ACCURACY])
    assert offer.outcome.policy == curve[1].policy
    assert offer.points == (None, None)
    assert offer.violations["min_accuracy"] == pytest.approx(0.2 / 0.9)


def evaluated(number: int, points: Sequence[Point | None], told: int) -> Evaluated:
    """Return a candidate whose curve has points of these values."""
    curve = [point(0.01 * i, 0.5) if p is None else point(p[0], 0.5) for i, p in enumerate(points)]
    result = {**trained(curve, told).to_dict(), "spending": {"number": number}}
    values = points[told] or (0.0, 1.0)
    return Evaluated(number, Architecture("toy", (("k", number),)), values, result, tuple(points))


def test_a_candidate_dominated_by_its_own_policy_gets_the_one_that_adds_most() -> None:
    other = evaluated(0, [(0.9, 1e-1)], 0)
    # the first is dominated; the third adds a factor of 10 in latency at 0.6, the second
    # 0.1 in accuracy over less than a factor of 2
    hidden = evaluated(1, [(0.85, 2e-1), (0.7, 0.9e-2), (0.6, 5e-3)], 0)
    kept, changed = with_best_policies([other, hidden], SCALE)
    assert kept == other
    assert changed.values == (0.6, 5e-3)
    outcome = TrainingOutcome.from_dict(changed.result)
    assert outcome.policy == ExitPolicy((0.6,))
    assert outcome.max_accuracy_drop == pytest.approx(0.95 - 0.6)
    assert outcome.validation is not None
    assert outcome.validation.accuracy == 0.6
    assert changed.result["spending"] == {"number": 1}


def test_without_points_nothing_changes() -> None:
    nothing = [evaluated(0, [None, None], 0), evaluated(1, [None], 0)]
    assert with_best_policies(nothing, SCALE) == nothing


@given(seed=st.integers(0, 2**31 - 1), n=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_candidates_on_the_front_keep_their_policy_and_others_get_to_it_if_they_can(
    seed: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    before = []
    for number in range(n):
        # as on a curve: the more accurate, the slower
        accuracy = np.sort(rng.uniform(0.1, 0.9, 4).round(3))[::-1]
        latency = np.sort(10 ** rng.uniform(-2.9, -0.1, 4))[::-1]
        points = [(float(a), float(t)) for a, t in zip(accuracy, latency, strict=True)]
        before.append(evaluated(number, points, int(rng.integers(4))))
    everything = [p for e in before for p in e.points if p is not None]

    def is_beaten(own: Point) -> bool:
        return any(p != own and p[0] >= own[0] and p[1] <= own[1] for p in everything)

    def adds(own: Point) -> float:
        front = [p for p in everything if not is_beaten(p)]
        others = np.array([p for p in front if p != own]).reshape(-1, 2)
        return SCALE.hypervolume(np.array(front)) - SCALE.hypervolume(others)

    for old, new in zip(before, with_best_policies(before, SCALE), strict=True):
        within = [p for p in old.points if p is not None and not is_beaten(p)]
        if not is_beaten(old.values) or not within:
            assert new == old
        else:
            assert not is_beaten(new.values)
            assert adds(new.values) == pytest.approx(max(map(adds, within)), abs=1e-9)
