"""A target that answers from a recording: the same numbers again, without the device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from targets._types import Artifact, Failure, FailureStage, MeasureConfig, Measurement
from targets.energy_measurement import EnergyConfig, EnergyMeasurement, EnergyObserver
from targets.json_lines import JsonLines
from targets.parity import input_shapes
from targets.result_json import Result, measurement_from_dict, result_from_dict

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from targets.spec import TargetSpec

_RECORD_FIELDS = ("id", "key", "recorded_at")


@dataclass(frozen=True)
class _Place:
    """Where a measurement stands: the line's offset, and which of the line's results it is."""

    offset: int
    position: int


class ReplayTarget:
    """Replays what one target measured; whatever was not recorded is a `Failure`.

    A model is recognized by its content (``model_sha256``). Of several measurements
    taken in the same way, the last recorded counts. Measurements keep their own target,
    provenance and device state: a replay never makes a number look better than it was. What a
    run measured at an operating point is left out: a replay is of the device as its target
    describes it. A run's quantized models may have been measured by another target; which one
    a model belongs to is plain as long as no model was measured by both.

    Args:
        spec: With a ``recording``: an exported measurement log, or a run's
            ``measurements.jsonl``.
        cache_dir: Not used; nothing is made.

    Raises:
        ValueError: If there is no recording, or it is damaged or empty, or a model in it was
            measured by several targets.
    """

    def __init__(self, spec: TargetSpec, cache_dir: Path | None = None) -> None:
        if spec.recording is None:
            raise ValueError(
                f"target {spec.name!r}: recording: missing; "
                "wanted the path of a measurement log or of a run's measurements.jsonl"
            )
        self._spec = spec
        self._path = spec.recording
        self._lines = JsonLines(spec.recording)
        self._places: dict[str, dict[MeasureConfig, _Place]] = {}
        self._energies: dict[str, dict[EnergyConfig, EnergyMeasurement]] = {}
        self._failures: dict[str, Failure] = {}
        self._digest = hashlib.sha256()
        self._index()

    @property
    def spec(self) -> TargetSpec:
        """Its description."""
        return self._spec

    @property
    def name(self) -> str:
        """Name of the target."""
        return self._spec.name

    @property
    def fingerprint(self) -> str:
        """SHA-256 over description and content of the recording."""
        parts = self._spec.fingerprint + self._digest.hexdigest()
        return hashlib.sha256(parts.encode()).hexdigest()

    def compile(self, model: onnx.ModelProto) -> Artifact | Failure:
        """Return what is recorded of a model's artifact; its file is the recording."""
        model_sha256 = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
        if model_sha256 not in self._places:
            return self._failures.get(model_sha256) or self._failure(
                "compile", f"{self._path}: this model was not recorded", model_sha256
            )
        measurement = self._measurement(next(iter(self._places[model_sha256].values())))
        return Artifact(
            target=self.name,
            path=self._path,
            sha256=measurement.artifact_sha256,
            model_sha256=model_sha256,
            flash_bytes=measurement.flash_bytes,
            peak_ram_bytes=measurement.peak_ram_bytes,
            compile_s=0.0,
            parity_max_abs_error=float("nan"),
            input_shapes=tuple(input_shapes(model).values()),
        )

    def measure(
        self, artifact: Artifact, config: MeasureConfig = MeasureConfig(), *, fresh: bool = False
    ) -> Measurement | Failure:
        """Return the recorded measurement; a fresh one there is not."""
        place = self._places.get(artifact.model_sha256, {}).get(config)
        if place is None:
            return self._failure(
                "run",
                f"{self._path}: this model was not recorded with these settings ({config})",
                artifact.model_sha256,
            )
        return self._measurement(place)

    def measure_energy(
        self,
        artifacts: Sequence[Artifact],
        config: EnergyConfig = EnergyConfig(),
        *,
        fresh: bool = False,
        observer: EnergyObserver | None = None,
    ) -> list[EnergyMeasurement | Failure]:
        """Return the recorded energies; fresh ones there are not."""
        return [
            self._energies.get(artifact.model_sha256, {}).get(config)
            or self._failure(
                "meter",
                f"{self._path}: the energy of this model was not recorded with these settings "
                f"({config})",
                artifact.model_sha256,
            )
            for artifact in artifacts
        ]

    def run(
        self, artifact: Artifact, inputs: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], ...] | Failure:
        """Return a failure: outputs are not recorded."""
        return self._failure(
            "run",
            "a recording runs no models; use the target it was recorded on",
            artifact.model_sha256,
        )

    def close(self) -> None:
        """Do nothing: no process was started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _index(self) -> None:
        names: dict[str, set[str]] = {}
        for line in self._lines.lines():
            try:
                for position, document in enumerate(_results(json.loads(line.content))):
                    result = result_from_dict(document)
                    names.setdefault(result.model_sha256, set()).add(result.target)
                    self._add(result, _Place(line.offset, position))
            except (AttributeError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{self._path}:{line.number}: not a recorded measurement ({error})"
                ) from None
            self._digest.update(line.content + b"\n")
        if not names:
            raise ValueError(f"{self._path}: no recording; the file is missing or empty")
        if several := next((n for n in names.values() if len(n) > 1), None):
            raise ValueError(
                f"{self._path}: holds measurements of {', '.join(sorted(several))}. "
                f"Export those of one: hwnas targets log {min(several)} --export NAME.jsonl"
            )

    def _add(self, result: Result, place: _Place) -> None:
        if isinstance(result, Failure):
            self._failures[result.model_sha256] = result
            return
        if isinstance(result, Measurement):
            self._places.setdefault(result.model_sha256, {})[result.config] = place
        energy = result.energy if isinstance(result, Measurement) else result
        if energy is not None:
            self._energies.setdefault(energy.model_sha256, {})[energy.config] = energy

    def _measurement(self, place: _Place) -> Measurement:
        documents = list(_results(json.loads(self._lines.line_at(place.offset))))
        return measurement_from_dict(documents[place.position])

    def _failure(self, stage: FailureStage, message: str, model_sha256: str) -> Failure:
        return Failure(self.name, stage, message, model_sha256)


def _results(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the results in a line of a measurement log, or of a run's measurements."""
    if document.get("device_point") is not None:
        return
    if "stages" in document:
        yield from document["stages"]
    elif "failure" in document:
        yield document["failure"]
    else:
        yield {name: value for name, value in document.items() if name not in _RECORD_FIELDS}
