"""What all targets share: check, cache, retry, and turn errors into failures."""

from __future__ import annotations

import hashlib
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, TypeVar

import numpy as np

from targets._types import Artifact, Failure, FailureStage, MeasureConfig, Measurement
from targets.cache import Cache
from targets.cpu_clock import journal_name, pinned
from targets.device_files import DeviceFiles
from targets.device_state import changing_state, device_state
from targets.disturbance import flags
from targets.energy_measurement import EnergyConfig, EnergyMeasurement, EnergyObserver
from targets.operating_points import require_power_mode
from targets.parity import (
    NoReferenceError,
    ParityError,
    Reference,
    input_shapes,
    largest_error,
    reference_of,
)
from targets.target_errors import CompileError, DeviceLostError, DeviceRefusedError, last_line

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from targets.energy_bench import EnergyBench
    from targets.meter_link import Channel
    from targets.power_trace import PowerTrace
    from targets.spec import TargetSpec

T = TypeVar("T")
Arrays: TypeAlias = "tuple[NDArray[np.float32], ...]"

_RUN_TIMEOUT_S = 60.0
_N_PROBES = 5
_ENERGY_BATCH = 4
_SEED = 0


@dataclass(frozen=True)
class Built:
    """What a toolchain says of the file it made.

    Args:
        flash_bytes: As in `Artifact`.
        peak_ram_bytes: As in `Artifact`.
        compile_s: As in `Artifact`; loading the toolchain does not count.
    """

    flash_bytes: int
    peak_ram_bytes: int
    compile_s: float


class LoadedModel(Protocol):
    """An artifact ready to run on the device."""

    @property
    def files(self) -> DeviceFiles:
        """The device's files."""
        ...

    @property
    def address(self) -> str:
        """Of the board, ``host:port``; without meaning on this computer."""
        ...

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> Arrays:
        """Run once and return the outputs."""
        ...

    def time(self, inputs: Sequence[NDArray[np.float32]], n_inferences: int) -> tuple[float, ...]:
        """Return the seconds each of so many inferences took, without setting inputs."""
        ...

    def loop(
        self, inputs: Sequence[NDArray[np.float32]], n_per_block: int, n_blocks: int
    ) -> tuple[float, ...]:
        """Run inferences without a pause; return their mean time in each block, in seconds."""
        ...

    def meter_channel(self) -> Channel | None:
        """Start an agent for a meter of the device; ``None`` where that is this computer."""
        ...


class CachedTarget(ABC):
    """A target whose device is reached in sessions that may hang or die.

    A subclass compiles (`_build`), opens sessions (`_open`) and stops whatever it
    started (`close`); after `close`, `_open` starts anew.

    Args:
        spec: Description of the target.
        code_version: Of whatever shapes artifacts beside toolchain and description.
        suffix: Of artifact files.
        cache_dir: As for `targets.create`.
    """

    attempts = 2
    """How often something is tried on a device that gets lost."""

    def __init__(
        self, spec: TargetSpec, code_version: str, suffix: str, cache_dir: Path | None
    ) -> None:
        self._spec = spec
        self._suffix = suffix
        self._cache = Cache(spec, code_version, suffix, cache_dir)

    @abstractmethod
    def _build(self, model: onnx.ModelProto, path: Path) -> Built:
        """Compile a model into a file, or raise `CompileError`."""

    @abstractmethod
    def _open(self, artifact: Artifact, timeout_s: float) -> AbstractContextManager[LoadedModel]:
        """Load an artifact on the device.

        Entering it, and what it yields, raise `DeviceRefusedError`,
        `DeviceLostError`, or `TimeoutError` when the time is over.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop every process the target started."""

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
        """SHA-256 over everything that can change a measurement."""
        return self._spec.fingerprint

    def compile(self, model: onnx.ModelProto) -> Artifact | Failure:
        """Compile a model, check parity with ONNX Runtime on the device, cache the result."""
        model_sha256 = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
        if cached := self._cache.artifact(model_sha256):
            return cached
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{self._suffix}"
            try:
                shapes = tuple(input_shapes(model).values())
                built = self._build(model, path)
                reference = reference_of(model)
            except ParityError as error:
                return self._failure("parity", error, model_sha256)
            except (CompileError, NoReferenceError, ValueError) as error:
                return self._failure("compile", error, model_sha256)
            artifact = Artifact(
                target=self.name,
                path=path,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                model_sha256=model_sha256,
                flash_bytes=built.flash_bytes,
                peak_ram_bytes=built.peak_ram_bytes,
                compile_s=built.compile_s,
                parity_max_abs_error=float("nan"),
                input_shapes=shapes,
            )
            return self._check(artifact, reference)

    def measure(
        self, artifact: Artifact, config: MeasureConfig = MeasureConfig(), *, fresh: bool = False
    ) -> Measurement | Failure:
        """Time an artifact: every sample is one inference, and all are kept."""
        if not fresh and (cached := self._cache.measurement(artifact, config)):
            return cached
        for repeat in range(config.repeats + 1):
            if repeat:
                time.sleep(config.cooldown_s)
            measurement = self._on_device(
                artifact, lambda loaded: self._measure(loaded, artifact, config), config.timeout_s
            )
            if isinstance(measurement, Failure):
                return measurement
            self._cache.store_measurement(artifact, measurement)
            if not measurement.disturbed:
                break
        return measurement

    def measure_energy(
        self,
        artifacts: Sequence[Artifact],
        config: EnergyConfig = EnergyConfig(),
        *,
        fresh: bool = False,
        observer: EnergyObserver | None = None,
    ) -> list[EnergyMeasurement | Failure]:
        """Measure the energy of an inference of each artifact; see `EnergyProtocol`.

        A few at a time: trials within such a batch come in random order, and what is
        measured is kept when the batch is done.
        """
        meters = [meter.model_dump_json() for meter in self._spec.meters]
        known = {
            artifact.sha256: found
            for artifact in artifacts
            if not fresh and (found := self._cache.energy(artifact, config, meters))
        }
        missing = [a for a in artifacts if a.sha256 not in known]
        results: dict[str, EnergyMeasurement | Failure] = {**known}
        for start in range(0, len(missing), _ENERGY_BATCH):
            batch = missing[start : start + _ENERGY_BATCH]
            found_now = self._energy_bench().measure(batch, config, observer)
            for artifact, result in zip(batch, found_now, strict=True):
                results[artifact.sha256] = result
                if isinstance(result, Failure):
                    self._cache.store_failure(result)
                else:
                    self._cache.store_energy(artifact, config, meters, result)
        return [results[artifact.sha256] for artifact in artifacts]

    def record_power(self, artifact: Artifact, seconds: float) -> list[PowerTrace] | Failure:
        """Record what the target's power meters say of the idle device."""
        return self._energy_bench().record(artifact, seconds)

    def _energy_bench(self) -> EnergyBench:
        from targets.energy_bench import EnergyBench

        return EnergyBench(self._spec, self._open, self.close, self._cache.folder / "clocks")

    def _measure(
        self, loaded: LoadedModel, artifact: Artifact, config: MeasureConfig
    ) -> Measurement:
        board = loaded.address if self._spec.rpc is not None else None
        journal = self._cache.folder / "clocks" / journal_name(loaded.files)
        with pinned(loaded.files, self._spec.clock_khz, journal) as pin:
            before = device_state(loaded.files)
            require_power_mode(self._spec, before)
            latency_s = _sample(loaded, artifact, config)
            after = changing_state(loaded.files)
        return Measurement(
            target=self.name,
            model_sha256=artifact.model_sha256,
            artifact_sha256=artifact.sha256,
            latency_s=latency_s,
            flash_bytes=artifact.flash_bytes,
            peak_ram_bytes=artifact.peak_ram_bytes,
            config=config,
            provenance=self._spec.provenance,
            device_state={
                "threads": self._spec.threads,
                "board_address": board,
                **before,
                "clock_refused": pin.refused,
                **{f"after_{name}": value for name, value in after.items()},
            },
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            flags=flags(latency_s, pin, before, after, self._spec.threads),
        )

    def run(self, artifact: Artifact, inputs: Sequence[NDArray[np.float32]]) -> Arrays | Failure:
        """Run an artifact once on the device and return its outputs."""
        return self._on_device(artifact, lambda loaded: loaded.run(inputs), _RUN_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _check(self, artifact: Artifact, reference: Reference) -> Artifact | Failure:
        def compare(loaded: LoadedModel) -> float | Failure:
            try:
                return largest_error(reference, loaded.run)
            except ParityError as error:
                return self._failure("parity", error, artifact.model_sha256)

        error = self._on_device(artifact, compare, _RUN_TIMEOUT_S)
        if isinstance(error, Failure):
            return error
        return self._cache.store_artifact(artifact, parity_max_abs_error=error)

    def _on_device(
        self, artifact: Artifact, work: Callable[[LoadedModel], T], timeout_s: float
    ) -> T | Failure:
        """Do something with a loaded artifact; again, on another device, if it was lost."""
        stage: FailureStage = "run"
        reason = ""  # not the error: its traceback would keep this frame, and the session
        for _ in range(self.attempts):
            try:
                with self._open(artifact, timeout_s) as loaded:
                    return work(loaded)
            except DeviceRefusedError as error:
                if reason:  # no device is left to try again on: the loss is what matters
                    return self._failure(stage, f"{reason}; {error}", artifact.model_sha256)
                return self._failure(error.stage, error, artifact.model_sha256)
            except TimeoutError as error:
                stage, reason = "timeout", last_line(error)
            except DeviceLostError as error:
                stage, reason = error.stage, last_line(error)
            self.close()
        return self._failure(stage, reason, artifact.model_sha256)

    def _failure(self, stage: FailureStage, reason: object, model_sha256: str) -> Failure:
        failure = Failure(self.name, stage, last_line(reason), model_sha256)
        self._cache.store_failure(failure)
        return failure


def _sample(loaded: LoadedModel, artifact: Artifact, config: MeasureConfig) -> tuple[float, ...]:
    rng = np.random.default_rng(_SEED)
    inputs = [rng.standard_normal(shape, dtype=np.float32) for shape in artifact.input_shapes]
    typical_s = float(np.median(loaded.time(inputs, _N_PROBES)))
    loaded.time(inputs, max(1, round(config.warmup_s / typical_s)))
    wanted = round(config.min_time_s / typical_s)
    return loaded.time(inputs, min(max(wanted, config.min_samples), config.max_samples))
