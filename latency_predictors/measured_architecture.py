"""Measure architectures: build, export, compile and time every stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from latency_predictors._types import Graph
from search_spaces import Architecture, SearchSpace
from targets import EnergyConfig, Failure, MeasureConfig, Measurement, Target
from targets.timings import joined

if TYPE_CHECKING:
    import onnx
    from torch import nn

CALIBRATION_ENERGY = EnergyConfig(
    trials=3, max_trials=9, relative_error=0.1, min_window_s=2.0, idle_s=2.0, warmup_s=1.0
)
"""How energies are measured for calibration: many architectures, each less surely than a
member of the front, as a predictor averages over them."""

DEPLOYED_TIMINGS = 2
"""How often what may be deployed is timed, front members and their variants alike: see
`measure_stages`. Architectures of a calibration are timed once, as many stand together."""


@dataclass(frozen=True)
class MeasuredArchitecture:
    """An architecture with one measurement per stage."""

    architecture: Architecture
    graphs: tuple[Graph, ...]
    measurements: tuple[Measurement, ...]

    @property
    def latency_s(self) -> float:
        """Median latency of the path through every stage."""
        return sum(m.latency_median_s for m in self.measurements)

    @property
    def disturbed(self) -> bool:
        """Whether any stage was measured while the device changed its speed."""
        return any(m.disturbed for m in self.measurements)


def measure_architecture(
    target: Target,
    space: SearchSpace,
    arch: Architecture,
    *,
    seed: int,
    config: MeasureConfig,
    energy: EnergyConfig | None = CALIBRATION_ENERGY,
    fresh: bool = False,
) -> MeasuredArchitecture | Failure:
    """Build an architecture with live random weights and measure each of its stages.

    Args:
        target: Where to measure.
        space: The architecture's space.
        arch: What to build.
        seed: Of its weights.
        config: How to time.
        energy: How to measure energies, if at all.
        fresh: Measure again even if the target's cache holds a measurement.
    """
    network = untrained_network(space, arch, seed)
    return measure_network(target, space, arch, network, config=config, energy=energy, fresh=fresh)


def untrained_network(space: SearchSpace, arch: Architecture, seed: int) -> nn.Module:
    """Build an architecture with random weights and live activations, as parity checks need."""
    from search_spaces.initialize import initialize_weights, live_batch_norm

    network = space.build(arch)
    initialize_weights(network, seed)
    live_batch_norm(network, space.input_shape, seed)
    return network


def measure_network(
    target: Target,
    space: SearchSpace,
    arch: Architecture,
    network: nn.Module,
    *,
    config: MeasureConfig = MeasureConfig(),
    energy: EnergyConfig | None = None,
    timings: int = 1,
    fresh: bool,
) -> MeasuredArchitecture | Failure:
    """Measure each stage of a network that was built from ``arch``.

    Where energies are wanted and the target has power meters, the trials of all stages are
    made in random order.

    Args:
        target: Where to measure.
        space: The architecture's space.
        arch: What ``network`` is.
        network: With the weights to deploy.
        config: How to time.
        energy: How to measure energies, if at all.
        timings: How often each stage is timed: see `measure_stages`.
        fresh: Measure again even if the target's cache holds a measurement.
    """
    from search_spaces.onnx_export import stage_models

    models = stage_models(network, space.input_shape)
    measurements = measure_stages(
        target, models, config=config, energy=energy, timings=timings, fresh=fresh
    )
    if isinstance(measurements, Failure):
        return measurements
    graphs = tuple(stage.workloads for stage in space.stages(arch))
    return MeasuredArchitecture(arch, graphs, measurements)


def measure_stages(
    target: Target,
    models: Sequence[onnx.ModelProto],
    *,
    config: MeasureConfig = MeasureConfig(),
    energy: EnergyConfig | None = None,
    timings: int = 1,
    fresh: bool,
) -> tuple[Measurement, ...] | Failure:
    """Measure the stages of a network, one by one, in any precision that the target runs.

    Networks that are chosen among by a few per cent are timed more than once, as what else a
    device does for a second may slow one of them by half, without a flag. All stages are timed
    before any is timed again, to have its timings apart; see `targets.timings.joined` for what
    becomes of them.

    Args:
        target: Where to measure.
        models: One per stage, in execution order.
        config: How to time.
        energy: How to measure energies, if at all.
        timings: How often each stage is timed.
        fresh: Measure again even if the target's cache holds a measurement.

    Returns:
        One measurement per stage, or the first failure.
    """
    artifacts = []
    for model in models:
        artifact = target.compile(model)
        if isinstance(artifact, Failure):
            return artifact
        artifacts.append(artifact)
    measurements: list[Measurement] = []
    for _ in range(timings):
        for index, artifact in enumerate(artifacts):
            found = target.measure(artifact, config, fresh=fresh)
            if isinstance(found, Failure):
                return found
            if index == len(measurements):
                measurements.append(found)
            else:
                measurements[index] = joined(measurements[index], found)
    if energy is not None and target.spec.meters:
        energies = target.measure_energy(artifacts, energy, fresh=fresh)
        for index, found_energy in enumerate(energies):
            if isinstance(found_energy, Failure):
                return found_energy
            measurements[index] = replace(measurements[index], energy=found_energy)
    return tuple(measurements)
