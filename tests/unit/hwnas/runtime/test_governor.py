"""The governor, step by step, and its energy budget over simulated days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.runtime.energy_budget import BUCKET_S, EnergyBudget
from hwnas.runtime.governor import Governor
from hwnas.runtime.policy import Conditions, Rule, ScalingPolicy, Threshold
from hwnas.runtime.signals import UNKNOWN, DeviceState, EventMonitor, Signals

ENERGIES_J = {"high": 4.0, "balanced": 2.0, "low": 0.5}
HOUR_S, DAY_S = 3600.0, 86_400.0

BATTERY = Rule(mode="low", when=Conditions(battery_level=Threshold(below=0.2, until=0.3)))
CHARGING = Rule(mode="high", when=Conditions(charging=True))


def policy(*rules: Rule, dwell_s: float = 0.0, budget: float | None = None) -> ScalingPolicy:
    return ScalingPolicy(
        default="balanced",
        rules=rules,
        min_dwell_s=dwell_s,
        energy_budget_j_per_hour=budget,
    )


def modes(governor: Governor, signals: list[Signals], step_s: float = 1.0) -> list[str]:
    found = []
    for k, at in enumerate(signals):
        governor.decide(k * step_s, at)
        found.append(governor.mode)
    return found


def test_a_rule_begins_at_one_threshold_and_ends_at_the_other() -> None:
    governor = Governor(policy(BATTERY), ENERGIES_J)
    levels = [0.25, 0.2, 0.19, 0.25, 0.29, 0.3, 0.25]
    wanted = ["balanced", "balanced", "low", "low", "low", "balanced", "balanced"]
    assert modes(governor, [Signals(battery_level=x) for x in levels]) == wanted


def test_the_first_rule_that_holds_decides() -> None:
    both = Signals(battery_level=0.1, charging=1.0)
    assert modes(Governor(policy(CHARGING, BATTERY), ENERGIES_J), [both]) == ["high"]
    assert modes(Governor(policy(BATTERY, CHARGING), ENERGIES_J), [both]) == ["low"]


def test_a_rule_on_a_signal_that_the_device_does_not_know_never_holds() -> None:
    governor = Governor(policy(BATTERY), ENERGIES_J)
    assert modes(governor, [Signals(battery_level=0.1), Signals()]) == ["low", "balanced"]


def test_all_conditions_of_a_rule_must_hold() -> None:
    rule = Rule(
        mode="low", when=Conditions(charging=False, battery_level=Threshold(below=0.2, until=0.2))
    )
    governor = Governor(policy(rule), ENERGIES_J)
    states = [Signals(0.1, 1.0), Signals(0.5, 0.0), Signals(0.1, 0.0)]
    assert modes(governor, states) == ["balanced", "balanced", "low"]


def test_a_mode_is_kept_for_the_dwell_time_and_then_changed_at_once() -> None:
    governor = Governor(policy(CHARGING, dwell_s=3.0), ENERGIES_J)
    plugged = [Signals(charging=float(on)) for on in (1, 0, 0, 0, 1, 0, 1)]
    wanted = ["high", "high", "high", "balanced", "balanced", "balanced", "high"]
    assert modes(governor, plugged) == wanted


def test_a_change_says_what_asked_for_it() -> None:
    governor = Governor(policy(BATTERY, CHARGING), ENERGIES_J)
    change = governor.decide(5.0, Signals(charging=1.0))
    assert change is not None
    assert (change.before, change.after, change.reason, change.rule) == (
        "balanced",
        "high",
        "rule",
        1,
    )
    assert governor.decide(6.0, Signals(charging=1.0)) is None


@pytest.mark.parametrize("dwell_s", [0.0, 30.0])
@pytest.mark.parametrize("metered", [False, True])
@pytest.mark.parametrize("per_hour_j", [600.0, 1200.0, 2000.0, 3000.0])
def test_consumption_comes_to_the_budget_within_two_per_cent_of_a_day(
    per_hour_j: float, metered: bool, dwell_s: float
) -> None:
    # an inference every 4 s: 450 J an hour in low, 3600 in high, and the budget in between
    spent_j = 0.0
    rules = policy(CHARGING, dwell_s=dwell_s, budget=per_hour_j)
    meter = (lambda: spent_j) if metered else None
    governor = Governor(rules, ENERGIES_J, meter=meter)
    for now_s in np.arange(0.0, DAY_S, 4.0):
        governor.decide(float(now_s), Signals(charging=1.0))
        spent_j += ENERGIES_J[governor.mode]
        governor.spend(ENERGIES_J[governor.mode])
    # the full bucket, a sixth of an hour, is 0.7 % of a day; the rest is of the dwell time
    assert spent_j == pytest.approx(24 * per_hour_j, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(0.5, 20.0),
    st.floats(500.0, 5000.0),
)
def test_no_stretch_of_time_takes_more_than_its_budget_and_the_bucket(
    seed: int, mean_gap_s: float, per_hour_j: float
) -> None:
    rng = np.random.default_rng(seed)
    energies_j = {"high": 4.0, "low": 0.0}
    governor = Governor(
        ScalingPolicy(default="high", min_dwell_s=0, energy_budget_j_per_hour=per_hour_j),
        energies_j,
    )
    times = np.cumsum(rng.exponential(mean_gap_s, 1500))
    spent = []
    for now_s in times:
        governor.decide(float(now_s), Signals())
        spent.append(energies_j[governor.mode])
        governor.spend(spent[-1])
    # the largest excess of any stretch is a running maximum of prefix sums
    excess = np.cumsum(spent) - per_hour_j / HOUR_S * times
    before = np.minimum.accumulate(np.concatenate([[0.0], excess - np.asarray(spent)]))[1:]
    bucket_j = per_hour_j * BUCKET_S / HOUR_S
    assert np.max(excess - before) <= bucket_j + max(energies_j.values()) + 1e-6


def test_a_budget_overrules_the_rules_and_says_so() -> None:
    governor = Governor(policy(CHARGING, budget=3600.0), ENERGIES_J)
    governor.decide(0.0, Signals(charging=1.0))
    # 100 of 600 J are left: a third allows the middle one, less only the cheapest
    governor.spend(500.0)
    change = governor.decide(0.0, Signals(charging=1.0))
    assert change is not None
    assert (change.before, change.after, change.reason, change.rule) == (
        "high",
        "low",
        "energy_budget",
        None,
    )


def test_a_budget_leaves_cheaper_modes_that_rules_ask_for() -> None:
    governor = Governor(policy(BATTERY, budget=3600.0), ENERGIES_J)
    governor.spend(300.0)
    assert modes(governor, [Signals(battery_level=0.1)]) == ["low"]


def test_a_meter_that_starts_anew_gives_nothing_back() -> None:
    readings = iter([50.0, 55.0, 0.0, 1.0])
    governor = Governor(policy(budget=3600.0), ENERGIES_J, meter=lambda: next(readings))
    levels = []
    for _ in range(3):
        governor.decide(0.0, Signals())
        levels.append(governor.budget_level)
    # of 600 J
    assert levels == pytest.approx([595 / 600, 595 / 600, 594 / 600])


def test_a_failed_reading_of_a_meter_is_made_up_for() -> None:
    readings = iter([float("nan"), 50.0, float("nan"), float("inf"), 110.0])
    governor = Governor(policy(budget=3600.0), ENERGIES_J, meter=lambda: next(readings))
    levels = []
    for _ in range(4):
        governor.decide(0.0, Signals())
        levels.append(governor.budget_level)
    # of 600 J; what came before the first reading is not known
    assert levels == pytest.approx([1, 1, 1, 540 / 600])


def test_an_unused_budget_saves_no_more_than_the_bucket() -> None:
    budget = EnergyBudget(3600.0)
    budget.spend(300.0)
    assert budget.level == pytest.approx(0.5)
    assert budget.dearest_allowed(300.0, 3) == 0
    assert budget.level == pytest.approx(1.0)
    budget.dearest_allowed(DAY_S, 3)
    assert budget.level == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("spent_j", "allowed"), [(0, 0), (199, 0), (201, 1), (399, 1), (401, 2), (2000, 2)]
)
def test_thirds_of_the_bucket_allow_three_modes(spent_j: float, allowed: int) -> None:
    budget = EnergyBudget(3600.0)
    budget.spend(spent_j)
    assert budget.dearest_allowed(0.0, 3) == allowed


def test_debt_is_paid_in_full() -> None:
    budget = EnergyBudget(3600.0)
    budget.spend(600.0 + 10 * 3600.0)
    budget.dearest_allowed(10 * HOUR_S, 2)
    assert budget.level == pytest.approx(0.0)
    assert budget.dearest_allowed(10 * HOUR_S + 600, 2) == 0


@pytest.mark.parametrize(
    ("gap_s", "dear_j", "cheap_j", "dwell_s", "per_hour_j", "days"),
    [
        # ten a second: a dwell time takes the budget of two hours
        (0.1, 1.0, 1e-3, 10.0, 50.0, 0.5),
        # one a minute: an inference takes that of two and a half
        (60.0, 5.0, 1e-3, 0.0, 2.0, 60.0),
        # a dwell time takes that of a day and a half
        (0.5, 0.1, 1e-4, HOUR_S, 20.0, 10.0),
    ],
)
def test_a_budget_holds_where_a_dwell_or_an_inference_takes_that_of_hours(
    gap_s: float, dear_j: float, cheap_j: float, dwell_s: float, per_hour_j: float, days: float
) -> None:
    governor = Governor(
        ScalingPolicy(default="high", min_dwell_s=dwell_s, energy_budget_j_per_hour=per_hour_j),
        {"high": dear_j, "low": cheap_j},
    )
    times_s = np.arange(0.0, days * DAY_S, gap_s).tolist()
    spent_j, energies_j = 0.0, {"high": dear_j, "low": cheap_j}
    for now_s in times_s:
        governor.decide(now_s, Signals())
        spent_j += energies_j[governor.mode]
        governor.spend(energies_j[governor.mode])
    bucket_j = per_hour_j * BUCKET_S / HOUR_S
    # a stay at the dear mode begins with at most a full bucket
    stay_j = max(dwell_s / gap_s, 1) * dear_j + dear_j
    budget_j = per_hour_j * 24 * days
    assert budget_j - stay_j < spent_j < budget_j + bucket_j + stay_j
    assert spent_j > 1.5 * stay_j  # it was left and came back


def test_a_steady_rate_is_found_and_forgotten_within_minutes() -> None:
    monitor = EventMonitor()
    for second in range(0, 600, 2):
        monitor.answered(float(second), 1.0, 0.5)
    now = monitor.signals(598.0, UNKNOWN)
    # each counts for 60 / 15 s a minute just after it, and those before for exp(-2/15) as much
    assert now.activity_per_min == pytest.approx(4 / (1 - np.exp(-2 / 15)), rel=1e-4)
    later = monitor.signals(598.0 + 15.0, UNKNOWN)
    assert now.activity_per_min is not None
    assert later.activity_per_min == pytest.approx(now.activity_per_min / np.e)


def test_confidence_weights_the_last_answers_most() -> None:
    monitor = EventMonitor()
    assert monitor.signals(0.0, DeviceState(0.4, True, 20.0)) == Signals(0.4, True, 20.0, 0.0)
    for confidence in (0.8, 0.4, 0.4):
        monitor.answered(0.0, 0.0, confidence)
    wanted = 0.4 + 0.4 * (7 / 8) ** 2
    assert monitor.signals(0.0, UNKNOWN).confidence == pytest.approx(wanted)
    assert monitor.signals(0.0, UNKNOWN).activity_per_min == 0.0
