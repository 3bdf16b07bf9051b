"""Operating points of a bundle as the runtime and the simulation use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwnas.bundle_manifest import BundleManifest
from hwnas.errors import UserError
from hwnas.recall_names import class_of
from hwnas.runtime.policy import ScalingPolicy, load_policy


@dataclass(frozen=True)
class OperatingPoint:
    """What one inference takes on average at an operating point, and how good it is.

    Args:
        energy_j: Mean over the exits, joules.
        energy_provenance: How it was obtained, such as ``measured`` or ``modelled``.
        latency_s: Mean over the exits, seconds.
        latency_provenance: How it was obtained.
        accuracy: On the test split; on the validation split where that is not known.
        device_point: Clock and power mode of the device; ``None`` for the usual one.
        recalls: By class, on the same split as the accuracy; of classes that it has samples of.
    """

    energy_j: float
    energy_provenance: str
    latency_s: float
    latency_provenance: str
    accuracy: float
    device_point: str | None = None
    recalls: Mapping[str, float] = field(default_factory=dict)


def point_of(
    metrics: Mapping[str, Mapping[str, Any]], device_point: str | None, where: str
) -> OperatingPoint:
    """Return an operating point from its metrics.

    Args:
        metrics: By name, each with ``value`` and ``provenance``, as `checked_metrics` returns
            them.
        device_point: Of the device.
        where: What error messages call it.

    Raises:
        UserError: If energy, latency or accuracy is missing, or a provenance of them.
    """
    split = "" if "accuracy" in metrics else "validation_"
    try:
        energy, latency = metrics["energy_j"], metrics["latency_s"]
        return OperatingPoint(
            float(energy["value"]),
            str(energy["provenance"]),
            float(latency["value"]),
            str(latency["provenance"]),
            float(metrics[f"{split}accuracy"]["value"]),
            device_point,
            _recalls(metrics, split),
        )
    except KeyError as error:
        raise UserError(f"{where}: metrics: {error} is missing. Export the bundle again.") from None


def _recalls(metrics: Mapping[str, Mapping[str, Any]], split: str) -> dict[str, float]:
    names = {name.removeprefix(split): name for name in metrics if name.startswith(split)}
    classes = {class_of(name): whole for name, whole in names.items()}
    return {c: float(metrics[name]["value"]) for c, name in classes.items() if c is not None}


def points_of(bundle: Path, manifest: BundleManifest) -> dict[str, OperatingPoint]:
    """Return the operating points of a bundle by name, in its order.

    Raises:
        UserError: As `point_of`.
    """
    return {
        name: point_of(point.metrics, point.device_point, f"{bundle}: operating_points.{name}")
        for name, point in manifest.operating_points.items()
    }


def policy_of(
    bundle: Path,
    manifest: BundleManifest,
    points: Mapping[str, OperatingPoint],
    file: Path | None = None,
) -> ScalingPolicy:
    """Return the scaling policy from a file, or else the bundle's own.

    A bundle without a policy stays at its first operating point.

    Raises:
        UserError: If it is wrong, see `load_policy`.
    """
    if file is None and manifest.scaling_policy is None:
        return ScalingPolicy(default=manifest.default_point)
    path = file or bundle / str(manifest.scaling_policy)
    energies_j = {name: point.energy_j for name, point in points.items()}
    return load_policy(path, energies_j, manifest.class_names)
