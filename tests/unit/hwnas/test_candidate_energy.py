"""Energy metrics of candidates: measured, modelled, and of a whole product, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.candidate_energy import (
    INT8_AS_FLOAT,
    current_metrics,
    energy_metrics,
    product_metrics,
    system_metrics,
)
from hwnas.front import Metric
from hwnas.product_config import ProductConfig
from hwnas.product_shares import product_shares
from latency_predictors import Graph, MeasuredArchitecture
from search_spaces import Architecture, Workload
from targets import (
    EnergyConfig,
    EnergyMeasurement,
    EnergyModel,
    EnergyTrial,
    Interval,
    MeasureConfig,
    Measurement,
)
from targets.meters import MeterInfo

SHARES = (0.75, 0.25)
# 160 and 20 MACs
GRAPHS: tuple[Graph, ...] = (
    (Workload("linear", (16,), (10,)),),
    (Workload("linear", (10,), (2,)),),
)
MODEL = EnergyModel(
    static_power_w=2.0,
    energy_per_mac_j=1e-9,
    energy_per_byte_j=0.0,
    relative_uncertainty=0.5,
    source="made up",
)
METER = MeterInfo(
    rail="supply",
    scope="board, without its display",
    update_period_s=1e-5,
    resolution=1e-6,
    range_w=5.0,
    gain_error=0.01,
    offset_error_w=0.0,
    averages=True,
    polled=False,
    bandwidth_hz=5e4,
    voltage_v=3.3,
)


def trial(latency_s: float) -> EnergyTrial:
    return EnergyTrial(
        latency_s=latency_s,
        n_inferences=10_000,
        window_s=10.0,
        active_power_w=3.0,
        idle_before_w=1.0,
        idle_after_w=1.0,
        idle_power_w=1.0,
        peak_power_w=4.0,
    )


def energy(
    latency_s: float, power_w: float, *, peak_w: float = 4.0, idle_w: float = 1.0
) -> EnergyMeasurement:
    """Gross energy to 10 %, energy above idle to 20 %, powers to 0.1 W."""
    gross_j, net_j = power_w * latency_s, (power_w - idle_w) * latency_s
    return EnergyMeasurement(
        target="board",
        model_sha256="",
        artifact_sha256="",
        gross_j=Interval(gross_j, 0.9 * gross_j, 1.1 * gross_j),
        net_j=Interval(net_j, 0.8 * net_j, 1.2 * net_j),
        net_refused=None,
        idle_power_w=Interval(idle_w, idle_w - 0.1, idle_w + 0.1),
        active_power_w=Interval(power_w, power_w - 0.1, power_w + 0.1),
        peak_power_w=peak_w,
        peak_bandwidth_hz=5e4,
        trials=(trial(latency_s),) * 5,
        sustained=(),
        meters=(METER,),
        config=EnergyConfig(),
        provenance="measured",
    )


def measurement(latency_s: float, measured: EnergyMeasurement | None = None) -> Measurement:
    return Measurement(
        target="board",
        model_sha256="",
        artifact_sha256="",
        latency_s=(latency_s,) * 200,
        flash_bytes=1000,
        peak_ram_bytes=100,
        config=MeasureConfig(),
        provenance="measured",
        energy=measured,
    )


def network(*measurements: Measurement) -> MeasuredArchitecture:
    return MeasuredArchitecture(Architecture("toy", ()), GRAPHS[: len(measurements)], measurements)


# 3 W for 1 ms, then 5 W for 3 ms; a quarter of the inferences need both stages
FIRST = measurement(1e-3, energy(1e-3, 3.0, idle_w=1.0, peak_w=4.5))
SECOND = measurement(3e-3, energy(3e-3, 5.0, idle_w=1.2, peak_w=6.0))
GROSS_J = 3e-3 + 0.25 * 15e-3


def test_measured_energies_of_stages_add_up_with_their_ends() -> None:
    metrics = energy_metrics(network(FIRST, SECOND), SHARES, MODEL)
    gross, worst = metrics["energy_j"], metrics["worst_energy_j"]
    assert gross.value == pytest.approx(GROSS_J)
    assert (gross.low, gross.high) == pytest.approx((0.9 * GROSS_J, 1.1 * GROSS_J))
    assert (worst.value, worst.low, worst.high) == pytest.approx((18e-3, 16.2e-3, 19.8e-3))
    assert (gross.provenance, gross.boundary) == ("measured", "inference_gross")
    assert gross.note == "board, without its display"


def test_inferences_per_joule_are_those_of_the_gross_energy() -> None:
    rate = energy_metrics(network(FIRST, SECOND), SHARES, MODEL)["inferences_per_joule"]
    # 6.75 mJ to 10 %
    assert (rate.value, rate.low, rate.high) == pytest.approx((148.148, 134.680, 164.609), rel=1e-5)
    assert (rate.provenance, rate.boundary) == ("measured", "inference_gross")


def test_energy_above_idle_has_a_boundary_of_its_own() -> None:
    net = energy_metrics(network(FIRST, SECOND), SHARES, MODEL)["energy_net_j"]
    # (3 - 1) W 1 ms + a quarter of (5 - 1.2) W 3 ms
    assert net.value == pytest.approx(2e-3 + 0.25 * 11.4e-3)
    assert (net.low, net.high) == pytest.approx((0.8 * net.value, 1.2 * net.value))
    assert net.boundary == "inference_net"


def test_refused_net_energy_is_absent_and_the_reason_told() -> None:
    assert SECOND.energy is not None
    refused = replace(SECOND.energy, net_j=None, net_refused="idle power drifted by 5 %")
    metrics = energy_metrics(network(FIRST, measurement(3e-3, refused)), SHARES, MODEL)
    assert "energy_net_j" not in metrics
    assert metrics["energy_j"].value == pytest.approx(GROSS_J)
    assert str(metrics["energy_j"].note).endswith("net energy refused: idle power drifted by 5 %")


def test_powers_are_means_over_time_and_the_peak_is_the_largest() -> None:
    metrics = energy_metrics(network(FIRST, SECOND), SHARES, MODEL)
    # 1 ms at 3 W and a quarter of 3 ms at 5 W, over 1.75 ms
    active = metrics["active_power_w"]
    assert active.value == pytest.approx(GROSS_J / 1.75e-3)
    assert (active.low, active.high) == pytest.approx((active.value - 0.1, active.value + 0.1))
    idle, peak = metrics["idle_power_w"], metrics["peak_power_w"]
    assert (idle.value, idle.low, idle.high) == pytest.approx((1.1, 0.9, 1.3))
    assert (peak.value, peak.bandwidth_hz) == (6.0, 5e4)


def test_a_stage_without_a_meter_leaves_all_energies_modelled() -> None:
    metrics = energy_metrics(network(FIRST, measurement(3e-3)), SHARES, MODEL)
    expected = 2e-3 + 160e-9 + 0.25 * (6e-3 + 20e-9)
    assert set(metrics) == {"energy_j", "worst_energy_j", "inferences_per_joule"}
    assert metrics["energy_j"].value == pytest.approx(expected)
    assert metrics["energy_j"].note == "meters measured 1 of 2 stages"
    assert {m.provenance for m in metrics.values()} == {"modelled"}


def test_modelled_energy_of_two_exits_is_the_closed_form() -> None:
    metrics = energy_metrics(network(measurement(1e-3), measurement(3e-3)), (0.7, 0.3), MODEL)
    first, second = 2.0 * 1e-3 + 160e-9, 2.0 * 3e-3 + 20e-9
    expected = first + 0.3 * second
    assert metrics["energy_j"].value == pytest.approx(expected)
    assert metrics["energy_j"].low == pytest.approx(0.5 * expected)
    assert metrics["energy_j"].high == pytest.approx(1.5 * expected)
    assert metrics["worst_energy_j"].value == pytest.approx(first + second)
    assert metrics["worst_energy_j"].high == pytest.approx(1.5 * (first + second))
    assert metrics["inferences_per_joule"].value == pytest.approx(1 / expected)
    assert metrics["inferences_per_joule"].low == pytest.approx(1 / (1.5 * expected))
    assert metrics["inferences_per_joule"].high == pytest.approx(1 / (0.5 * expected))
    for metric in metrics.values():
        assert (metric.provenance, metric.boundary) == ("modelled", "inference_gross")


def test_one_emulated_meter_makes_the_whole_energy_emulated() -> None:
    assert SECOND.energy is not None
    emulated = measurement(3e-3, replace(SECOND.energy, provenance="emulated"))
    metrics = energy_metrics(network(FIRST, emulated), SHARES, MODEL)
    assert {m.provenance for m in metrics.values()} == {"emulated"}


# 30 mJ beside each inference, 2 mW asleep, once a second
PRODUCT = ProductConfig.model_validate(
    {
        "interval_s": 1.0,
        "sleep_power_mw": 2.0,
        "sensor_energy_mj": 30.0,
        "battery": {"capacity_mah": 100.0, "voltage_v": 3.7},
        "country": "FRA",
        "max_temperature_c": 85.0,
    }
)
METRICS = {
    "energy_j": Metric(20e-3, "measured", 18e-3, 22e-3, boundary="inference_gross"),
    "latency_s": Metric(0.1, "measured", 0.1, 0.1),
    "accuracy": Metric(0.9, "measured", 0.88, 0.92, split="test"),
}


def test_costs_of_a_product_are_modelled_even_from_a_measured_energy() -> None:
    metrics = product_metrics(METRICS, [FIRST], PRODUCT)
    days = metrics["battery_days"]
    # 20 + 30 + 0.9 * 2 mW; 1332 J
    assert metrics["average_power_w"].value == pytest.approx(51.8e-3)
    assert days.value == pytest.approx(1332 / 51.8e-3 / 86_400)
    assert days.low == pytest.approx(1332 / 53.8e-3 / 86_400)
    assert days.high == pytest.approx(1332 / 49.8e-3 / 86_400)
    assert (days.provenance, days.boundary) == ("modelled", "system")


def test_greenhouse_gas_names_country_year_and_source() -> None:
    note = product_metrics(METRICS, [FIRST], PRODUCT)["co2e_g_per_million"].note
    assert str(note).startswith("France 2023: 56.039 g CO2e/kWh (Our World in Data")


def test_headroom_is_to_the_hottest_that_latency_or_energy_saw() -> None:
    assert SECOND.energy is not None
    warm = replace(FIRST, device_state={"temperature_c": 40.0, "after_temperature_c": 52.0})
    hot = replace(SECOND, energy=replace(SECOND.energy, device_state={"after_temperature_c": 71.0}))
    metrics = product_metrics(METRICS, [warm, hot], PRODUCT)
    assert metrics["thermal_headroom_k"].value == 14.0
    assert "thermal_headroom_k" not in product_metrics(METRICS, [FIRST], PRODUCT)


def test_sustained_latency_is_that_of_the_slowest_loops() -> None:
    assert SECOND.energy is not None
    throttled = replace(SECOND.energy, sustained=(trial(4.5e-3), trial(4e-3)))
    stages = [FIRST, replace(SECOND, energy=throttled)]
    sustained = product_metrics(METRICS, stages, PRODUCT)["sustained_latency_s"]
    assert sustained.value == pytest.approx(1e-3 + 4.5e-3)
    assert sustained.high == pytest.approx(1e-3 + 4.5e-3)
    assert (sustained.note, sustained.partial) == (None, None)


def test_without_trials_the_sustained_latency_is_that_of_short_loops_and_says_so() -> None:
    stages = [FIRST, measurement(3e-3)]
    sustained = product_metrics(METRICS, stages, PRODUCT)["sustained_latency_s"]
    assert sustained.value == pytest.approx(4e-3)
    assert sustained.note == "of short loops, as no energy was measured"
    assert sustained.partial


def test_current_and_accuracy_per_milliamp_are_stated_at_the_meters_voltage() -> None:
    metrics = METRICS | {"active_power_w": Metric(0.33, "measured", 0.30, 0.36)}
    out = current_metrics(metrics, [FIRST], supply_voltage_v=5.0)
    current, rate = out["average_current_a"], out["accuracy_per_milliamp"]
    assert current.value == pytest.approx(0.1)
    assert current.voltage_v == 3.3
    assert rate.value == pytest.approx(90 / 100)
    # least accuracy at most current, and the reverse
    assert rate.low == pytest.approx(88 / (360 / 3.3))
    assert rate.high == pytest.approx(92 / (300 / 3.3))
    assert (rate.voltage_v, rate.boundary, rate.split) == (3.3, "inference_gross", "test")


def test_a_modelled_current_is_of_the_modelled_energy_at_the_products_voltage() -> None:
    modelled = METRICS | {"energy_j": Metric(20e-3, "modelled", 10e-3, 30e-3)}
    current = current_metrics(modelled, [measurement(0.1)], 5.0)["average_current_a"]
    # 0.2 W
    assert (current.value, current.low, current.high) == pytest.approx((0.04, 0.02, 0.06))
    assert (current.provenance, current.voltage_v) == ("modelled", 5.0)


def test_the_peak_current_is_of_the_peak_power_and_as_flattened() -> None:
    metrics = METRICS | {"peak_power_w": Metric(0.66, "measured", bandwidth_hz=500.0)}
    peak = current_metrics(metrics, [FIRST])["peak_current_a"]
    # at 3.3 V
    assert peak.value == pytest.approx(0.2)
    assert (peak.bandwidth_hz, peak.voltage_v, peak.high) == (500.0, 3.3, None)


def test_without_a_voltage_there_is_no_current() -> None:
    assert current_metrics(METRICS, [measurement(0.1)]) == {}


def test_the_networks_share_of_a_product_grows_with_its_energy() -> None:
    product = PRODUCT.model_copy(update={"battery": None})
    metrics = METRICS | {"energy_j": Metric(20e-3, "measured", 10e-3, 30e-3)}
    share = system_metrics(metrics, product)["network_share"]
    t = metrics["latency_s"]
    # the network is awake longer where it displaces less sleep: least with least, most with most
    assert t.low is not None
    assert t.high is not None
    ends = ((20e-3, t.value), (10e-3, t.low), (30e-3, t.high))
    by_hand = tuple(product_shares(product, e, latency)["network"] for e, latency in ends)
    assert (share.value, share.low, share.high) == pytest.approx(by_hand)
    assert by_hand[1] < by_hand[0] < by_hand[2]
    assert share.provenance == "modelled"


def test_modelled_energies_of_int8_say_where_they_count_it_as_float32() -> None:
    int8 = tuple(tuple(replace(w, dtype="int8") for w in graph) for graph in GRAPHS)
    measured = replace(network(measurement(1e-3), measurement(2e-3)), graphs=int8)
    assert energy_metrics(measured, SHARES, MODEL)["energy_j"].note == INT8_AS_FLOAT
    some = replace(measured, measurements=(measurement(1e-3, energy(1e-3, 3.0)), measurement(2e-3)))
    note = energy_metrics(some, SHARES, MODEL)["energy_j"].note
    assert note == f"meters measured 1 of 2 stages; {INT8_AS_FLOAT}"
    own = MODEL.model_copy(update={"energy_per_int8_mac_j": 1e-10})
    assert energy_metrics(measured, SHARES, own)["energy_j"].note is None
    assert energy_metrics(replace(measured, graphs=GRAPHS), SHARES, MODEL)["energy_j"].note is None
