"""Measure forms of networks on the device that a search is for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from hwnas.device_points import AtPoint, measure_at_points
from hwnas.finalists import front_timing
from hwnas.search_context import SearchContext
from hwnas.target_checking import open_target
from latency_predictors import MeasuredArchitecture, measure_stages
from search_spaces import Architecture, workloads_from_onnx
from targets import EnergyConfig, Failure, MeasureConfig, Measurement, Target

if TYPE_CHECKING:
    import onnx


class FormMeasuring:
    """Measures models on the search's target, and quantized ones where that cannot run them.

    A context manager: the second target is opened when it is first wanted.

    Args:
        context: The search, its target open.
    """

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        self._opened = ExitStack()
        self._quantized: Target | None = None

    def __enter__(self) -> FormMeasuring:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._opened.close()

    def target(self, *, quantized: bool) -> Target | None:
        """Return the target that runs float32 or quantized models; ``None`` if there is none."""
        own = self._context.target
        name = own.spec.quantized_target
        if not quantized or name == own.name:
            return own
        if self._quantized is None and name is not None:
            self._quantized = self._opened.enter_context(open_target(name))
        return self._quantized

    def measure(
        self,
        architecture: Architecture,
        models: Sequence[onnx.ModelProto],
        float_models: Sequence[onnx.ModelProto],
        target: Target,
    ) -> MeasuredArchitecture | Failure:
        """Time the stages of a network, twice, and measure their energies where there are meters.

        Args:
            architecture: That it comes from.
            models: One per stage, to measure.
            float_models: The same in float32, whose operators a modelled energy counts.
            target: Where to measure.
        """
        context = self._context
        energy = context.config.energy_measurement.for_target(context.config.seed)
        found = _measured_twice(target, models, front_timing(context.constraints), energy)
        if isinstance(found, Failure):
            return found
        graphs = tuple(workloads_from_onnx(model) for model in float_models)
        return MeasuredArchitecture(architecture, graphs, found)

    def measure_at_points(
        self,
        measured: MeasuredArchitecture,
        models: Sequence[onnx.ModelProto],
        target: Target,
    ) -> list[tuple[AtPoint, MeasuredArchitecture]]:
        """Measure a network's stages again at every operating point, where that is asked for.

        Args:
            measured: The same network with the device as its target describes it.
            models: One per stage, to measure.
            target: Where to measure.

        Returns:
            Points, refused ones too, each with what was measured at it.
        """
        config = self._context.config
        if not config.deployment.every_clock:
            return []
        found = measure_at_points(
            target.spec,
            measured.measurements[0].device_state,
            models,
            config=front_timing(self._context.constraints),
            energy=config.energy_measurement.for_target(config.seed),
        )
        return [(at, replace(measured, measurements=at.measurements)) for at in found]


def _measured_twice(
    target: Target, models: Sequence[onnx.ModelProto], config: MeasureConfig, energy: EnergyConfig
) -> tuple[Measurement, ...] | Failure:
    """Time stages twice, and return the faster of the two measurements.

    Whatever else a device does can slow it for a second or two, and never makes it faster:
    forms of one network are compared by a few per cent.
    """
    first = measure_stages(target, models, config=config, fresh=True)
    if isinstance(first, Failure):
        return first
    second = measure_stages(target, models, config=config, energy=energy, fresh=True)
    if isinstance(second, Failure):
        # a meter that fails leaves the latency, and the energy is modelled
        return first if second.stage == "meter" else second
    if _latency_s(second) <= _latency_s(first):
        return second
    return tuple(replace(a, energy=b.energy) for a, b in zip(first, second, strict=True))


def _latency_s(measurements: Sequence[Measurement]) -> float:
    return sum(m.latency_median_s for m in measurements)
