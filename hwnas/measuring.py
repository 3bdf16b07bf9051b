"""Measure any ONNX model on a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.candidate_energy import (
    current_metrics,
    measured_energy_metrics,
    modelled_energy_metrics,
    product_metrics,
)
from hwnas.errors import UnreachableError, UserError
from hwnas.front import Metric
from hwnas.product_config import ProductConfig
from hwnas.progress import ProgressReporter, SilentProgress
from hwnas.target_checking import open_target
from hwnas.units import engineering
from latency_predictors import modelled_energy
from search_spaces import UnknownOperatorError, workloads_from_onnx
from targets import (
    Artifact,
    EnergyConfig,
    EnergyModel,
    EnergyTrial,
    Failure,
    MeasureConfig,
    Measurement,
    Target,
)

if TYPE_CHECKING:
    import onnx

# a board that does not answer is exit 3; a model the toolchain refuses is the user's input
_UNREACHABLE = ("connect", "upload", "timeout", "meter")


@dataclass(frozen=True)
class MeasuredModel:
    """Measured costs of one ONNX model.

    Args:
        measurement: Latency samples, flash, peak RAM, and energy where meters are attached.
        metrics: Energies and what follows from them, by name; modelled from the measured
            latency where no meter is attached.
        energy_not_measured_because: What went wrong, where meters are attached and did not
            measure it, or nothing is known of its energy.
    """

    measurement: Measurement
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    energy_not_measured_because: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form with provenance on every number."""
        m = self.measurement
        low, high = m.latency_interval_s()
        return {
            "target": m.target,
            "model_sha256": m.model_sha256,
            "latency_s": {
                "value": m.latency_median_s,
                "low": low,
                "high": high,
                "p99": m.latency_p99_s,
                "samples": len(m.latency_s),
                "provenance": m.provenance,
            },
            "flash_bytes": {"value": m.flash_bytes, "provenance": m.provenance},
            "peak_ram_bytes": {"value": m.peak_ram_bytes, "provenance": m.provenance},
            "flags": list(m.flags),
            "device_state": dict(m.device_state),
            "measured_at": m.measured_at,
            **{name: metric.to_dict() for name, metric in self.metrics.items()},
            "energy_not_measured_because": self.energy_not_measured_because,
        }


def measure(
    target: str,
    model: Path,
    *,
    config: MeasureConfig = MeasureConfig(),
    energy: EnergyConfig = EnergyConfig(),
    product: ProductConfig | None = None,
    progress: ProgressReporter | None = None,
) -> MeasuredModel:
    """Compile an ONNX model, check it against ONNX Runtime, and measure it on the target.

    Where power meters measure no energy, the latency is kept and the reason told.

    Args:
        target: Name of a target, or a path to its YAML file.
        model: ONNX file with static shapes.
        config: How to time it.
        energy: How to measure its energy, where the target has power meters.
        product: What surrounds the network, for the metrics of the whole product.
        progress: Told how far the work is.

    Raises:
        UserError: If the model cannot be read or compiled.
        UnreachableError: If the target does not answer.
    """
    graph = read_onnx(model)
    with open_target(target) as opened:
        artifact = opened.compile(graph)
        if isinstance(artifact, Failure):
            raise failure_error(artifact, str(model))
        measurement = opened.measure(artifact, config, fresh=True)
        if isinstance(measurement, Failure):
            raise failure_error(measurement, str(model))
        progress = progress or SilentProgress()
        measurement, reason = _with_energy(measurement, opened, artifact, energy, progress)
        energy_model = opened.spec.energy_model
    metrics: dict[str, Metric] = {}
    if measurement.energy is not None:
        metrics = measured_energy_metrics([measurement.energy], [1.0])
    else:
        try:
            metrics = _modelled(measurement, graph, energy_model)
        except UnknownOperatorError as error:
            reason = reason or f"the energy model does not know it: {error.args[0]}"
    if metrics:
        del metrics["worst_energy_j"]  # one model has one path
        metrics |= _derived(measurement, metrics, product)
    return MeasuredModel(measurement, metrics, reason)


def _with_energy(
    measurement: Measurement,
    target: Target,
    artifact: Artifact,
    config: EnergyConfig,
    progress: ProgressReporter,
) -> tuple[Measurement, str | None]:
    """Add what the target's power meters measure; or return why they did not."""
    if not target.spec.meters:
        return measurement, None
    progress.phase(f"Measuring energy on {target.name}", config.trials)
    (found,) = target.measure_energy(
        [artifact], config, fresh=True, observer=lambda _, trial: progress.advance(told(trial))
    )
    if isinstance(found, Failure):
        return measurement, found.message
    return replace(measurement, energy=found), None


def told(trial: EnergyTrial) -> str:
    """Return what progress says of a trial."""
    state = ", throttled" if trial.throttled else ""
    return f"{engineering(trial.gross_j, 'J')} gross, {engineering(trial.net_j, 'J')} net{state}"


def _modelled(
    measurement: Measurement, graph: onnx.ModelProto, energy_model: EnergyModel
) -> dict[str, Metric]:
    workloads = workloads_from_onnx(graph)
    modelled = modelled_energy(measurement.latency_median_s, workloads, energy_model)
    return modelled_energy_metrics([modelled], [1.0])


def _derived(
    measurement: Measurement, energies: Mapping[str, Metric], product: ProductConfig | None
) -> dict[str, Metric]:
    """Return what follows from the energy, for the product and at its voltage."""
    low, high = measurement.latency_interval_s()
    latency = Metric(measurement.latency_median_s, measurement.provenance, low, high)
    metrics = {"latency_s": latency, **energies}
    voltage_v = product.supply_voltage_v if product else None
    derived = current_metrics(metrics, [measurement], voltage_v)
    if product is not None:
        derived |= product_metrics(metrics, [measurement], product)
    return derived


def failure_error(failure: Failure, where: str) -> UserError:
    """Return the error that tells a user of a failure on a target."""
    text = f"{where}: {failure.stage} failed on {failure.target!r}: {failure.message}"
    if failure.stage in _UNREACHABLE:
        return UnreachableError(f"{text} Check: hwnas targets check {failure.target}")
    return UserError(text)


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file.

    Raises:
        UserError: If it is missing or no valid ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, format="protobuf")
        onnx.checker.check_model(model)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (DecodeError, onnx.checker.ValidationError) as error:
        reason = str(error).splitlines()[0] if str(error) else "not readable as ONNX"
        raise UserError(f"{path}: not a valid ONNX model ({reason})") from None
    return model
