"""Measure forms of networks on the device that a search is for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hwnas.device_points import AtPoint, measure_at_points
from hwnas.finalists import front_timing
from hwnas.quantization import ARITHMETIC, operator_name
from hwnas.search_context import SearchContext
from hwnas.target_checking import open_target
from hwnas.variants import NetworkForm
from latency_predictors import MeasuredArchitecture, measure_stages
from latency_predictors.measured_architecture import DEPLOYED_TIMINGS
from latency_predictors.records import MeasurementRecords
from search_spaces import Architecture, workloads_from_onnx
from targets import EnergyConfig, Failure, Measurement, Target, TargetSpec

if TYPE_CHECKING:
    import onnx

VARIANT_PHASE = "variants"
"""Of the run's measurements: what was measured of forms of front members."""


class FormMeasuring:
    """Measures models on the search's target, and quantized ones where that cannot run them.

    A context manager: the second target is opened when it is first wanted.

    Args:
        context: The search, its target open.
    """

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        self._records = MeasurementRecords(context.run.measurements)
        self._opened = ExitStack()
        self._quantized: Target | None = None

    def __enter__(self) -> FormMeasuring:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._opened.close()

    def quantized_target(self) -> Target | None:
        """Return the target that runs quantized models; ``None`` if there is none."""
        own = self._context.target
        name = own.spec.quantized_target
        if name == own.name:
            return own
        if self._quantized is None and name is not None:
            self._quantized = self._opened.enter_context(open_target(name))
        return self._quantized

    def measure(
        self,
        form: NetworkForm,
        architecture: Architecture,
        models: Sequence[onnx.ModelProto],
        float_models: Sequence[onnx.ModelProto],
        target: Target,
    ) -> MeasuredArchitecture | Failure:
        """Time the stages of a network, and measure their energies where there are meters.

        They are timed as often as front members are, see `measure_stages`. A meter that fails
        leaves the latency, and the energy is modelled. What was measured, or failed, is added
        to the run's measurements.

        Args:
            form: What is measured.
            architecture: That it comes from.
            models: One per stage, to measure.
            float_models: The same in float32, whose operators a modelled energy counts.
            target: Where to measure.
        """
        energy = self._context.config.energy_measurement.for_target(self._context.config.seed)
        found = self._timed(target, models, energy)
        if isinstance(found, Failure) and found.stage == "meter":
            found = self._timed(target, models, None)
        self._records.append(VARIANT_PHASE, architecture, found)
        if isinstance(found, Failure):
            return found
        graphs = tuple(
            workloads_from_onnx(model, int8_nodes(form, stage, model))
            for stage, model in enumerate(float_models)
        )
        return MeasuredArchitecture(architecture, graphs, found)

    def measure_at_points(
        self, measured: MeasuredArchitecture, models: Sequence[onnx.ModelProto], spec: TargetSpec
    ) -> list[AtPoint]:
        """Measure a network's stages again at every operating point, where that is asked for.

        Args:
            measured: The same network with the device as its target describes it.
            models: One per stage, to measure.
            spec: Of the target that measured it.

        Returns:
            Points, refused ones too, each with what was measured at it.
        """
        config = self._context.config
        if not config.deployment.every_clock:
            return []
        found = measure_at_points(
            spec,
            measured.measurements[0].device_state,
            models,
            config=front_timing(self._context.constraints),
            energy=config.energy_measurement.for_target(config.seed),
        )
        for at in found:
            if at.refused is None:
                self._records.append(
                    VARIANT_PHASE, measured.architecture, at.measurements, at.point.name
                )
        return found

    def _timed(
        self, target: Target, models: Sequence[onnx.ModelProto], energy: EnergyConfig | None
    ) -> tuple[Measurement, ...] | Failure:
        return measure_stages(
            target,
            models,
            config=front_timing(self._context.constraints),
            energy=energy,
            timings=DEPLOYED_TIMINGS,
            fresh=True,
        )


def int8_nodes(form: NetworkForm, stage: int, model: onnx.ModelProto) -> frozenset[str]:
    """Return names of the nodes of a stage, still in float32, that a form computes in int8."""
    if form.precision == "float32":
        return frozenset()
    return frozenset(
        node.name
        for node in model.graph.node
        if node.op_type in ARITHMETIC and operator_name(stage, node) not in form.float_operators
    )
