"""Simulated days against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.product_config import BatteryConfig, ProductConfig
from hwnas.runtime.answer_models import PredictedAnswers
from hwnas.runtime.operating_points import OperatingPoint
from hwnas.runtime.policy import Conditions, Rule, ScalingPolicy, Threshold
from hwnas.runtime.simulation import Outcome, simulate_policy
from hwnas.runtime.trace import Trace

DAY_S = 86_400.0
# 8,640 inferences a day, those of the last hour events
TIME_S = np.arange(0.0, DAY_S, 10.0)
TRACE = Trace(TIME_S, TIME_S >= 23 * 3600)

POINTS = {
    "high": OperatingPoint(0.5, "measured", 2.0, "measured", 0.95),
    "low": OperatingPoint(0.1, "measured", 1.0, "measured", 0.75),
}
PRODUCT = ProductConfig(
    interval_s=10.0,
    sleep_power_mw=2.0,
    wake_energy_mj=30.0,
    battery=BatteryConfig(capacity_mah=1000, voltage_v=3.0),
)
BATTERY_J = 1000e-3 * 3600 * 3.0
# energy of the network, of waking, and asleep for the rest of 10 s
HIGH_W = (0.5 + 0.03 + 8 * 0.002) / 10
LOW_W = (0.1 + 0.03 + 9 * 0.002) / 10


def simulated(
    trace: Trace,
    policy: ScalingPolicy,
    points: dict[str, OperatingPoint] = POINTS,
    product: ProductConfig | None = PRODUCT,
) -> Outcome:
    answers = PredictedAnswers(points, policy.quiet_class)
    return simulate_policy(trace, policy, points, answers, product)


def fixed(mode: str) -> ScalingPolicy:
    return ScalingPolicy(default=mode)


@pytest.mark.parametrize(("mode", "power_w"), [("high", HIGH_W), ("low", LOW_W)])
def test_a_fixed_mode_takes_the_power_of_its_duty_cycle(mode: str, power_w: float) -> None:
    outcome = simulated(TRACE, fixed(mode))
    assert outcome.average_power_w == pytest.approx(power_w)
    assert outcome.battery_days == pytest.approx(BATTERY_J / power_w / DAY_S)
    assert outcome.inference_j_per_day == pytest.approx(8640 * POINTS[mode].energy_j)
    assert outcome.mode_shares == {mode: 1.0}
    assert outcome.accuracy == pytest.approx(POINTS[mode].accuracy)
    assert outcome.event_accuracy == pytest.approx(POINTS[mode].accuracy)
    assert outcome.mode_changes_per_day == 0


def test_without_a_product_there_are_no_days() -> None:
    outcome = simulated(TRACE, fixed("low"), product=None)
    assert (outcome.average_power_w, outcome.battery_days) == (None, None)


def test_a_trace_without_events_has_no_accuracy_of_events() -> None:
    quiet = Trace(TIME_S, np.zeros(len(TIME_S), dtype=bool))
    assert simulated(quiet, fixed("low")).event_accuracy is None


def test_the_last_fifth_of_a_battery_lasts_as_the_rule_on_it_says() -> None:
    rule = Rule(mode="low", when=Conditions(battery_level=Threshold(below=0.2, until=0.3)))
    policy = ScalingPolicy(default="high", rules=(rule,), min_dwell_s=0)
    outcome = simulated(TRACE, policy)
    high_s, low_s = 0.8 * BATTERY_J / HIGH_W, 0.2 * BATTERY_J / LOW_W
    assert outcome.battery_days == pytest.approx((high_s + low_s) / DAY_S)
    share = high_s / (high_s + low_s)
    assert outcome.mode_shares == pytest.approx({"high": share, "low": 1 - share})
    assert outcome.accuracy == pytest.approx(share * 0.95 + (1 - share) * 0.75)
    # all energy of the battery, over all the time
    assert outcome.average_power_w == pytest.approx(BATTERY_J / (high_s + low_s))


def test_a_condition_above_a_level_ends_where_it_says_while_the_battery_falls() -> None:
    rule = Rule(mode="high", when=Conditions(battery_level=Threshold(above=0.9, until=0.6)))
    policy = ScalingPolicy(default="low", rules=(rule,), min_dwell_s=0)
    outcome = simulated(TRACE, policy)
    wanted_s = 0.4 * BATTERY_J / HIGH_W + 0.6 * BATTERY_J / LOW_W
    assert outcome.battery_days == pytest.approx(wanted_s / DAY_S)


def test_nothing_is_drawn_from_the_battery_while_charging() -> None:
    charged = Trace(TIME_S, TRACE.event, charging=TIME_S < DAY_S / 4)
    rule = Rule(mode="high", when=Conditions(charging=True))
    policy = ScalingPolicy(default="low", rules=(rule,), min_dwell_s=0)
    outcome = simulated(charged, policy)
    assert outcome.mode_shares == pytest.approx({"high": 0.25, "low": 0.75})
    assert outcome.average_power_w == pytest.approx(0.25 * HIGH_W + 0.75 * LOW_W)
    assert outcome.battery_days == pytest.approx(BATTERY_J / (0.75 * LOW_W) / DAY_S)


def test_a_device_that_charges_for_ever_has_no_battery_days() -> None:
    charged = Trace(TIME_S, TRACE.event, charging=np.ones(len(TIME_S), dtype=bool))
    assert simulated(charged, fixed("low")).battery_days is None


def test_activity_raises_the_mode_for_events_and_lets_it_down_after_them() -> None:
    # one in 10 s; just before it the last ones count for 4.2 a minute, if all are seen
    rule = Rule(mode="high", when=Conditions(activity_per_min=Threshold(above=3, until=2)))
    policy = ScalingPolicy(default="low", rules=(rule,), min_dwell_s=0, quiet_class="quiet")
    outcome = simulated(TRACE, policy)
    # high for the 360 events but for the first two minutes, in which the rate rises
    assert 360 - 12 <= 8640 * outcome.mode_shares["high"] <= 360
    assert outcome.event_accuracy == pytest.approx(0.95, abs=12 / 360 * 0.2)
    assert outcome.mode_changes_per_day <= 2


def test_background_and_events_are_recognised_as_their_classes_are() -> None:
    recalls = {"quiet": 0.98, "knock": 0.9, "voice": 0.7}
    point = OperatingPoint(0.1, "measured", 1.0, "measured", 0.86, recalls=recalls)
    background, event = (
        PredictedAnswers({"low": point}, "quiet").answer("low", 0, is_event)
        for is_event in (False, True)
    )
    assert (background.right, background.active) == pytest.approx((0.98, 0.02))
    assert (event.right, event.active) == pytest.approx((0.8, 0.8))
    # what is background is not known: all classes are events, and all are activity
    of_any = PredictedAnswers({"low": point}, None).answer("low", 0, True)
    assert (of_any.right, of_any.active) == (0.86, 1.0)


def test_heat_is_followed_as_the_trace_says() -> None:
    hot = Trace(TIME_S, TRACE.event, temperature_c=np.where(TIME_S < DAY_S / 2, 75.0, 20.0))
    rule = Rule(mode="low", when=Conditions(temperature_c=Threshold(above=70, until=60)))
    policy = ScalingPolicy(default="high", rules=(rule,), min_dwell_s=0)
    shares = simulated(hot, policy).mode_shares
    assert shares == pytest.approx({"high": 0.5, "low": 0.5})


def test_an_energy_budget_holds_the_networks_energy() -> None:
    # 864 J a day in low, 4,320 in high
    policy = ScalingPolicy(default="high", energy_budget_j_per_hour=100.0, min_dwell_s=0)
    outcome = simulated(TRACE, policy)
    # the bucket of 10 minutes is 0.7 % of a day
    assert outcome.inference_j_per_day == pytest.approx(2400, rel=0.01)


def test_an_inference_that_takes_too_long_leaves_no_time_to_sleep() -> None:
    slow = {"low": OperatingPoint(3.0, "measured", 30.0, "measured", 0.75)}
    outcome = simulated(TRACE, fixed("low"), slow)
    assert outcome.average_power_w == pytest.approx((3.0 + 0.03) / 30)
