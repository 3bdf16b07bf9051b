"""Measure a network's stages at every operating point of a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import targets
from latency_predictors import measure_stages
from latency_predictors.measured_architecture import DEPLOYED_TIMINGS
from targets import EnergyConfig, EnergyModel, Failure, MeasureConfig, Measurement, TargetSpec
from targets.operating_points import OperatingPoint, at_point, operating_points, refusal

if TYPE_CHECKING:
    import onnx

    from targets import Target

OpenTarget: TypeAlias = Callable[[TargetSpec], "Target"]

NO_ENERGY = (
    "no power meter, and a model of energy at one voltage says nothing of others: attach a "
    "meter, or give the operating point its active_power_w"
)

NO_CLOCKS = "a recording is of the device as its target describes it"


@dataclass(frozen=True)
class AtPoint:
    """A network's stages at one operating point.

    Args:
        point: Where.
        spec: Of the target there; its energy model is of this point.
        measurements: One per stage, in execution order; none where it was refused.
        refused: Why nothing was measured; one line.
    """

    point: OperatingPoint
    spec: TargetSpec
    measurements: tuple[Measurement, ...] = ()
    refused: str | None = None


def measure_at_points(
    spec: TargetSpec,
    state: Mapping[str, Any],
    models: Sequence[onnx.ModelProto],
    *,
    config: MeasureConfig = MeasureConfig(),
    energy: EnergyConfig = EnergyConfig(),
    create: OpenTarget = targets.create,
) -> list[AtPoint]:
    """Measure stages at every operating point of a target; the clock is put back afterwards.

    They are timed as often as without a point, so that the points compare with the usual clock.
    A point without energies is refused: neither meters nor its own power are known. A recording
    is refused all points.

    Args:
        spec: Of the target.
        state: Of the device, which may tell its clocks.
        models: One per stage, in execution order.
        config: How to time.
        energy: How to measure energies, where the target has power meters.
        create: Makes a target of a description.
    """
    return [
        _measured(at_point(spec, point), point, models, config, energy, create)
        for point in operating_points(spec, state)
    ]


def energy_model_at(spec: TargetSpec, point: OperatingPoint) -> EnergyModel | None:
    """Return a model of energy at a point: its power times the latency; none if it is unknown.

    Power is that of the whole device while it runs inferences, so that operators count no
    more: not in float32, and not in int8.
    """
    if point.active_power_w is None:
        return None
    return EnergyModel(
        static_power_w=point.active_power_w,
        energy_per_mac_j=0.0,
        energy_per_int8_mac_j=0.0,
        energy_per_byte_j=0.0,
        relative_uncertainty=spec.energy_model.relative_uncertainty,
        source=f"active_power_w of operating point {point.name}",
    )


def _measured(
    spec: TargetSpec,
    point: OperatingPoint,
    models: Sequence[onnx.ModelProto],
    config: MeasureConfig,
    energy: EnergyConfig,
    create: OpenTarget,
) -> AtPoint:
    if spec.recording is not None:
        return AtPoint(point, spec, refused=NO_CLOCKS)
    model = energy_model_at(spec, point)
    if model is not None:
        spec = spec.model_copy(update={"energy_model": model})
    elif not spec.meters:
        return AtPoint(point, spec, refused=NO_ENERGY)
    with create(spec) as opened:
        found = measure_stages(
            opened, models, config=config, energy=energy, timings=DEPLOYED_TIMINGS, fresh=True
        )
    if isinstance(found, Failure):
        return AtPoint(point, spec, refused=found.message)
    reasons = [refusal(point, m.device_state) for m in found]
    if refused := next((r for r in reasons if r is not None), None):
        return AtPoint(point, spec, refused=refused)
    return AtPoint(point, spec, found)
