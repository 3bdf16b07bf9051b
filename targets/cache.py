"""Artifacts and results, kept by what they were made from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from targets._types import Artifact, Failure, MeasureConfig, Measurement
from targets.atomic_file import write_atomically
from targets.device_state import cpu_model, toolchain_versions
from targets.energy_measurement import EnergyConfig, EnergyMeasurement
from targets.measurement_log import MeasurementLog
from targets.spec import TargetSpec

_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """Return ``$HWNAS_CACHE``, else ``hwnas`` in the user's cache folder (XDG)."""
    if chosen := os.environ.get("HWNAS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas"


def open_measurement_log(folder: Path | None = None) -> MeasurementLog:
    """Return the log that all targets of a cache folder share.

    Args:
        folder: Of the cache, `default_cache_dir` by default.
    """
    return MeasurementLog((folder or default_cache_dir()) / "measurements.jsonl")


class Cache:
    """Artifacts by content, and the log of results; what is damaged counts as missing.

    Args:
        spec: Target whose entries these are.
        code_version: Of whatever else shapes an artifact, such as schedule rules.
        suffix: Of artifact files.
        folder: Root of the store, `default_cache_dir` by default.
    """

    def __init__(
        self, spec: TargetSpec, code_version: str, suffix: str, folder: Path | None = None
    ) -> None:
        self.folder = folder or default_cache_dir()
        self._suffix = suffix
        self._measurements = open_measurement_log(folder)
        self._context = json.dumps(
            [spec.device_fingerprint, code_version, cpu_model(), toolchain_versions()],
            sort_keys=True,
        )

    def artifact(self, model_sha256: str) -> Artifact | None:
        """Return the artifact made from a model, with ``compile_s = 0``."""
        path = self._artifact_path(model_sha256)
        try:
            fields = json.loads(path.with_suffix(".json").read_bytes())
            if hashlib.sha256(path.read_bytes()).hexdigest() != fields["sha256"]:
                raise ValueError("checksum does not match")
            shapes = tuple(tuple(shape) for shape in fields["input_shapes"])
            return Artifact(**fields | {"path": path, "input_shapes": shapes, "compile_s": 0.0})
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("%s: ignored a damaged cache entry (%s)", path, error)
            return None

    def store_artifact(self, artifact: Artifact, parity_max_abs_error: float) -> Artifact:
        """Copy a checked artifact's file into the cache; return the artifact at its new path."""
        path = self._artifact_path(artifact.model_sha256)
        stored = replace(artifact, path=path, parity_max_abs_error=parity_max_abs_error)
        write_atomically(path, artifact.path.read_bytes())
        # the description last: without it there is no entry
        write_atomically(
            path.with_suffix(".json"), json.dumps(asdict(stored) | {"path": path.name}).encode()
        )
        return stored

    def measurement(self, artifact: Artifact, config: MeasureConfig) -> Measurement | None:
        """Return the newest undisturbed measurement of an artifact, taken the same way."""
        found = self._measurements.newest(self._measurement_key(artifact, config))
        return found if isinstance(found, Measurement) else None

    def store_measurement(self, artifact: Artifact, measurement: Measurement) -> None:
        """Record a measurement."""
        self._measurements.append(self._measurement_key(artifact, measurement.config), measurement)

    def energy(
        self, artifact: Artifact, config: EnergyConfig, meters: Sequence[str]
    ) -> EnergyMeasurement | None:
        """Return the newest measured energy of an artifact, taken the same way."""
        found = self._measurements.newest(self._energy_key(artifact, config, meters))
        return found if isinstance(found, EnergyMeasurement) else None

    def store_energy(
        self,
        artifact: Artifact,
        config: EnergyConfig,
        meters: Sequence[str],
        energy: EnergyMeasurement,
    ) -> None:
        """Record a measured energy."""
        self._measurements.append(self._energy_key(artifact, config, meters), energy)

    def store_failure(self, failure: Failure) -> None:
        """Record a failure; it is never looked up, so that the next try is a real one."""
        self._measurements.append(self._key(failure.model_sha256), failure)

    def _artifact_path(self, model_sha256: str) -> Path:
        return self.folder / "artifacts" / f"{self._key(model_sha256)}{self._suffix}"

    def _measurement_key(self, artifact: Artifact, config: MeasureConfig) -> str:
        return self._key(artifact.sha256, json.dumps(asdict(config), sort_keys=True))

    def _energy_key(self, artifact: Artifact, config: EnergyConfig, meters: Sequence[str]) -> str:
        return self._key(artifact.sha256, json.dumps(asdict(config), sort_keys=True), *meters)

    def _key(self, *parts: str) -> str:
        return hashlib.sha256("\n".join((self._context, *parts)).encode()).hexdigest()
