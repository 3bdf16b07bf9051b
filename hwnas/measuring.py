"""Measure any ONNX model on a target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import UnreachableError, UserError
from hwnas.target_checking import open_target
from latency_predictors import ModelledEnergy, modelled_energy
from targets import Failure, MeasureConfig, Measurement

if TYPE_CHECKING:
    import onnx

# a board that does not answer is exit 3; a model the toolchain refuses is the user's input
_UNREACHABLE = ("connect", "upload", "timeout", "meter")


@dataclass(frozen=True)
class MeasuredModel:
    """Measured costs of one ONNX model.

    Args:
        measurement: Latency samples, flash and peak RAM.
        energy: Modelled from the measured latency, where no meter is attached.
        no_energy_because: Why there is no energy, where ``energy`` is ``None``.
    """

    measurement: Measurement
    energy: ModelledEnergy | None
    no_energy_because: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form with provenance on every number."""
        m = self.measurement
        low, high = m.latency_interval_s()
        document: dict[str, Any] = {
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
        }
        if self.energy is not None:
            document["energy_j"] = asdict(self.energy) | {
                "provenance": "modelled",
                "boundary": "inference_gross",
            }
        else:
            document["no_energy_because"] = self.no_energy_because
        return document


def measure(target: str, model: Path, *, config: MeasureConfig = MeasureConfig()) -> MeasuredModel:
    """Compile an ONNX model, check it against ONNX Runtime, and time it on the target.

    Args:
        target: Name of a target, or a path to its YAML file.
        model: ONNX file with static shapes.
        config: How to time it.

    Raises:
        UserError: If the model cannot be read or compiled.
        UnreachableError: If the target does not answer.
    """
    from search_spaces import UnknownOperatorError, workloads_from_onnx

    graph = read_onnx(model)
    with open_target(target) as opened:
        artifact = opened.compile(graph)
        result = (
            artifact
            if isinstance(artifact, Failure)
            else opened.measure(artifact, config, fresh=True)
        )
        if isinstance(result, Failure):
            raise failure_error(result, str(model))
        energy_model = opened.spec.energy_model
    try:
        workloads = workloads_from_onnx(graph)
    except UnknownOperatorError as error:
        return MeasuredModel(result, None, f"the energy model does not know it: {error.args[0]}")
    return MeasuredModel(
        result, modelled_energy(result.latency_median_s, workloads, energy_model), None
    )


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
