"""Energy metrics of a measured candidate: measured where a meter was there, else modelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hwnas.early_exit import expected_cost
from hwnas.energy_metrics import (
    accuracy_per_milliamp,
    average_current_a,
    hottest_c,
    inferences_per_joule,
    thermal_headroom_k,
)
from hwnas.front import Metric
from hwnas.product_config import ProductConfig
from hwnas.product_costs import product_ranges, source_of
from hwnas.product_shares import product_shares
from latency_predictors import EnergyRange, modelled_energy
from targets import EnergyMeasurement, EnergyModel, Interval, Measurement, Provenance

if TYPE_CHECKING:
    from latency_predictors import MeasuredArchitecture

Metrics = dict[str, Metric]

INT8_AS_FLOAT = "multiply-accumulates in int8 are counted as in float32"


def energy_metrics(
    measured: MeasuredArchitecture, shares: Sequence[float], energy_model: EnergyModel
) -> Metrics:
    """Return the energies of an inference and the powers behind them.

    Where power meters measured every stage, their figures; otherwise energies modelled
    from the measured latency, with no powers. The two are never joined in one sum.

    Args:
        measured: One measurement per stage.
        shares: Share of samples that leaves at each exit.
        energy_model: Of the target, for what no meter measured.
    """
    energies = [m.energy for m in measured.measurements if m.energy is not None]
    n = len(measured.measurements)
    if len(energies) == n:
        return measured_energy_metrics(energies, shares)
    stages = [
        modelled_energy(measurement.latency_median_s, graph, energy_model)
        for measurement, graph in zip(measured.measurements, measured.graphs, strict=True)
    ]
    notes = [f"meters measured {len(energies)} of {n} stages"] if energies else []
    is_int8 = any(w.dtype == "int8" for graph in measured.graphs for w in graph)
    if is_int8 and energy_model.energy_per_int8_mac_j is None:
        notes.append(INT8_AS_FLOAT)
    return modelled_energy_metrics(stages, shares, "; ".join(notes) or None)


def modelled_energy_metrics(
    stages: Sequence[EnergyRange], shares: Sequence[float], note: str | None = None
) -> Metrics:
    """Return the energies of an inference where no power meter measured them.

    Args:
        stages: Modelled, in execution order.
        shares: Share of samples that leaves at each exit.
        note: Why they are not measured, where that is not plain.
    """
    ranges = [Interval(e.energy_j, e.low_j, e.high_j) for e in stages]
    return _gross_metrics(ranges, shares, "modelled", note)


def measured_energy_metrics(
    energies: Sequence[EnergyMeasurement], shares: Sequence[float]
) -> Metrics:
    """Return the energies of an inference and the powers behind them, as meters measured.

    ``energy_net_j`` is left out where it was refused for a stage, and the note says why.

    Args:
        energies: One per stage, in execution order.
        shares: Share of samples that leaves at each exit.
    """
    provenance: Provenance = "measured"
    if any(e.provenance != "measured" for e in energies):
        provenance = "emulated"
    metrics = _gross_metrics(
        [e.gross_j for e in energies], shares, provenance, _energy_note(energies)
    )
    nets = [e.net_j for e in energies if e.net_j is not None]
    if len(nets) == len(energies):
        net = _mean(nets, shares)
        metrics["energy_net_j"] = Metric(
            net.value, provenance, net.low, net.high, boundary="inference_net"
        )
    active = _active_power(energies, shares)
    metrics["active_power_w"] = Metric(active.value, provenance, active.low, active.high)
    idle = [e.idle_power_w for e in energies]
    metrics["idle_power_w"] = Metric(
        sum(i.value for i in idle) / len(idle),
        provenance,
        min(i.low for i in idle),
        max(i.high for i in idle),
    )
    peak = max(energies, key=lambda e: e.peak_power_w)
    metrics["peak_power_w"] = Metric(
        peak.peak_power_w, provenance, bandwidth_hz=peak.peak_bandwidth_hz
    )
    return metrics


def _gross_metrics(
    stages: Sequence[Interval], shares: Sequence[float], provenance: Provenance, note: str | None
) -> Metrics:
    """Return mean and worst case; errors may be common to all stages, so that ends add up."""
    mean, worst = _mean(stages, shares), _mean(stages, _all_at_last(stages))

    def gross(value: float, low: float, high: float | None, note: str | None = None) -> Metric:
        return Metric(value, provenance, low, high, boundary="inference_gross", note=note)

    most = 1 / mean.low if mean.low > 0 else None
    return {
        "energy_j": gross(mean.value, mean.low, mean.high, note),
        "worst_energy_j": gross(worst.value, worst.low, worst.high),
        "inferences_per_joule": gross(inferences_per_joule(mean.value), 1 / mean.high, most),
    }


def _energy_note(energies: Sequence[EnergyMeasurement]) -> str:
    parts = list(dict.fromkeys(e.scope for e in energies))
    refused = dict.fromkeys(e.net_refused for e in energies if e.net_refused is not None)
    parts += [f"net energy refused: {reason}" for reason in refused]
    if throttled := sum(len(e.sustained) for e in energies):
        parts.append(f"{throttled} throttled trials left out")
    return "; ".join(parts)


def _active_power(energies: Sequence[EnergyMeasurement], shares: Sequence[float]) -> Interval:
    """Return the mean power over an inference: stages weigh by how long they run."""
    times_s = [e.gross_j.value / e.active_power_w.value for e in energies]
    whole_s = expected_cost(shares, times_s)

    def mean(powers_w: Sequence[float]) -> float:
        parts = [t * p for t, p in zip(times_s, powers_w, strict=True)]
        return expected_cost(shares, parts) / whole_s

    powers = [e.active_power_w for e in energies]
    return Interval(
        mean([p.value for p in powers]),
        mean([p.low for p in powers]),
        mean([p.high for p in powers]),
    )


def product_metrics(
    metrics: Mapping[str, Metric], measurements: Sequence[Measurement], product: ProductConfig
) -> Metrics:
    """Return what a candidate costs the whole product, and how it bears it.

    The costs are those of `system_metrics`; the headroom and the sustained latency are as
    measured.

    Args:
        metrics: Of the candidate: ``energy_j`` and ``latency_s``.
        measurements: One per stage.
        product: What surrounds the network.
    """
    out = system_metrics(metrics, product)
    out["sustained_latency_s"] = _sustained_latency(measurements)
    temperatures = [hottest_c(m.device_state) for m in measurements]
    temperatures += [hottest_c(m.energy.device_state) for m in measurements if m.energy]
    seen = [t for t in temperatures if t is not None]
    if product.max_temperature_c is not None and seen:
        headroom_k = thermal_headroom_k(product.max_temperature_c, max(seen))
        out["thermal_headroom_k"] = Metric(headroom_k, measurements[0].provenance)
    return out


def system_metrics(metrics: Mapping[str, Metric], product: ProductConfig) -> Metrics:
    """Return every cost of a product that its description allows, and the network's share.

    See `hwnas.product_costs.product_costs` and `hwnas.product_shares.product_shares`.

    They are modelled, also from a measured energy, since the product's other figures are
    taken from its description.

    Args:
        metrics: Of the network: ``energy_j`` and ``latency_s``.
        product: What surrounds it.
    """
    energy, latency = metrics["energy_j"], metrics["latency_s"]
    # a wide interval may reach below 0, an energy cannot
    energies = (energy.value, max(0.0, energy.lower_bound), energy.upper_bound)
    latencies = (latency.value, latency.lower_bound, latency.upper_bound)
    out = {
        name: Metric(value, "modelled", low, high, boundary="system", note=source_of(name, product))
        for name, (value, low, high) in product_ranges(product, energies, latencies).items()
    }
    shares = [
        product_shares(product, e, t)["network"] for e, t in zip(energies, latencies, strict=True)
    ]
    out["network_share"] = Metric(
        shares[0], "modelled", min(shares), max(shares), boundary="system"
    )
    return out


def current_metrics(
    metrics: Mapping[str, Metric],
    measurements: Sequence[Measurement],
    supply_voltage_v: float | None = None,
) -> Metrics:
    """Return mean current while inferring, accuracy per milliamp of it, and peak current.

    None where no voltage is known: neither by the power meter nor by the product.

    Args:
        metrics: Of the candidate: energies, latency and accuracies.
        measurements: One per stage.
        supply_voltage_v: Of the product, where the power meter knows none.
    """
    known = {m.energy.voltage_v for m in measurements if m.energy is not None}
    voltage_v = known.pop() if len(known) == 1 else None
    voltage_v = supply_voltage_v if voltage_v is None else voltage_v
    if voltage_v is None:
        return {}
    energy, latency = metrics["energy_j"], metrics["latency_s"]
    power = metrics.get("active_power_w") or Metric(
        energy.value / latency.value,
        energy.provenance,
        energy.lower_bound / latency.upper_bound,
        energy.upper_bound / latency.lower_bound,
    )
    low_w, high_w = max(0.0, power.lower_bound), power.upper_bound
    current = Metric(
        average_current_a(power.value, voltage_v),
        power.provenance,
        average_current_a(low_w, voltage_v),
        average_current_a(high_w, voltage_v),
        boundary="inference_gross",
        voltage_v=voltage_v,
    )
    out = {"average_current_a": current}
    if (peak := metrics.get("peak_power_w")) is not None:
        out["peak_current_a"] = Metric(
            average_current_a(peak.value, voltage_v),
            peak.provenance,
            boundary="inference_gross",
            voltage_v=voltage_v,
            bandwidth_hz=peak.bandwidth_hz,
        )
    accuracy = metrics.get("accuracy") or metrics.get("validation_accuracy")
    if accuracy is not None:
        out["accuracy_per_milliamp"] = Metric(
            accuracy_per_milliamp(accuracy.value, power.value, voltage_v),
            power.provenance,
            accuracy_per_milliamp(accuracy.lower_bound, high_w, voltage_v),
            accuracy_per_milliamp(accuracy.upper_bound, low_w, voltage_v) if low_w > 0 else None,
            boundary="inference_gross",
            split=accuracy.split,
            voltage_v=voltage_v,
        )
    return out


def _sustained_latency(measurements: Sequence[Measurement]) -> Metric:
    """Return the longest time of the full path on a device that is warm.

    Sums, over the stages, the slowest loop of the energy's trials, throttled ones included,
    where there was one; no less than the upper end of the median.
    """
    value, high = 0.0, 0.0
    is_warm = all(measurement.energy for measurement in measurements)
    for measurement in measurements:
        energy = measurement.energy
        trials = (*energy.trials, *energy.sustained) if energy else ()
        slowest_s = max((trial.latency_s for trial in trials), default=0.0)
        value += max(measurement.latency_median_s, slowest_s)
        high += max(measurement.latency_interval_s()[1], slowest_s)
    note = None if is_warm else "of short loops, as no energy was measured"
    return Metric(
        value, measurements[0].provenance, high=high, note=note, partial=not is_warm or None
    )


def _mean(stages: Sequence[Interval], shares: Sequence[float]) -> Interval:
    return Interval(
        expected_cost(shares, [s.value for s in stages]),
        expected_cost(shares, [s.low for s in stages]),
        expected_cost(shares, [s.high for s in stages]),
    )


def _all_at_last(stages: Sequence[Interval]) -> list[float]:
    return [*[0.0] * (len(stages) - 1), 1.0]
