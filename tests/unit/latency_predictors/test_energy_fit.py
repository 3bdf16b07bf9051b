"""Energies made by a known formula: what was fitted has to be that formula."""

from dataclasses import replace

import numpy as np
import pytest

import search_spaces
from latency_predictors import MeasuredArchitecture, fit_energy_model, modelled_energy
from search_spaces import total_bytes_moved, total_macs
from targets import EnergyConfig, EnergyMeasurement, Interval, MeasureConfig, Measurement

POWER_W, PER_MAC_J, PER_BYTE_J = 2.5, 3e-11, 5e-12


def measured(n: int, noise: float = 0.0) -> list[MeasuredArchitecture]:
    space = search_spaces.create("early_exit", input_shape=(3, 16, 16), n_classes=4, n_stages=2)
    rng = np.random.default_rng(0)
    out = []
    for _ in range(n):
        arch = space.sample(rng)
        graphs = tuple(stage.workloads for stage in space.stages(arch))
        stages = []
        for graph in graphs:
            # not a function of MACs alone, or the terms could not be told apart
            latency_s = total_macs(graph) * 1e-10 * float(rng.uniform(0.5, 2)) + 1e-5
            joules = POWER_W * latency_s + PER_MAC_J * total_macs(graph)
            joules += PER_BYTE_J * total_bytes_moved(graph)
            joules *= 1 + noise * float(rng.standard_normal())
            stages.append(measurement(latency_s, joules))
        out.append(MeasuredArchitecture(arch, graphs, tuple(stages)))
    return out


def measurement(latency_s: float, joules: float) -> Measurement:
    found = Interval(joules, joules, joules)
    energy = EnergyMeasurement(
        "board", "ab", "cd", found, found, None, found, found, 1.0, 1e3, (), (), (),
        EnergyConfig(), "measured", measured_at="2026-02-03T00:00:00+00:00",
    )  # fmt: skip
    return Measurement(
        "board", "ab", "cd", (latency_s,), 1, 1, MeasureConfig(), "measured", energy=energy
    )


def test_the_formula_behind_the_energies_is_found() -> None:
    model = fit_energy_model(measured(20))
    assert model.static_power_w == pytest.approx(POWER_W, rel=1e-6)
    assert model.energy_per_mac_j == pytest.approx(PER_MAC_J, rel=1e-6)
    assert model.energy_per_byte_j == pytest.approx(PER_BYTE_J, rel=1e-6)
    assert model.relative_uncertainty < 1e-6
    assert model.source.startswith("fitted to 20 architectures measured on board")
    assert model.source.endswith("2026-02-03")


def test_its_uncertainty_is_what_it_is_wrong_by_on_others() -> None:
    """5 % of noise: 95 % of errors are within about 1.96 times that."""
    model = fit_energy_model(measured(60, noise=0.05))
    assert 0.07 < model.relative_uncertainty < 0.14
    others = measured(90)[60:]
    graphs = [graph for item in others for graph in item.graphs]
    stages = list(zip(graphs, (m for item in others for m in item.measurements), strict=True))
    ranges = [modelled_energy(m.latency_median_s, graph, model) for graph, m in stages]
    truths = [m.energy.gross_j.value for _, m in stages if m.energy]
    held = [r.low_j <= t <= r.high_j for r, t in zip(ranges, truths, strict=True)]
    assert np.mean(held) > 0.95  # truths have no noise of their own


def test_no_coefficient_is_negative() -> None:
    model = fit_energy_model(measured(8, noise=0.5))
    assert min(model.static_power_w, model.energy_per_mac_j, model.energy_per_byte_j) >= 0


def test_stages_without_an_energy_are_refused() -> None:
    items = measured(6)
    without = replace(items[0].measurements[0], energy=None)
    items[0] = replace(items[0], measurements=(without, *items[0].measurements[1:]))
    with pytest.raises(ValueError, match="wanted measured energies of every stage"):
        fit_energy_model(items)
    with pytest.raises(ValueError, match="of 4"):
        fit_energy_model(items[1:5])
