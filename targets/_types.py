"""The nouns of a target: artifact, measurement, failure, and the target itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from targets.energy_measurement import EnergyConfig, EnergyMeasurement, EnergyObserver

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from targets.kernel_database import KernelTime
    from targets.spec import TargetSpec
    from targets.tuning_database import TunedKernel

Provenance: TypeAlias = Literal["measured", "emulated", "vendor_estimate", "predicted", "modelled"]
"""Where a number comes from. Only ``measured`` may pass an SLA."""

Boundary: TypeAlias = Literal["inference_net", "inference_gross", "system"]
"""What an energy includes: without idle power, with it, or the whole product."""

Flag: TypeAlias = Literal["clock_unknown", "clock_unpinned", "loaded", "throttled", "drifting"]
"""A doubt about a measurement; see `Measurement.disturbed` for those that disqualify it."""

FailureStage: TypeAlias = Literal[
    "compile", "parity", "connect", "upload", "run", "timeout", "meter"
]


@dataclass(frozen=True)
class MeasureConfig:
    """How one artifact is timed. Every sample is one inference.

    Args:
        warmup_s: Time spent running before the first sample.
        min_samples: Least number of timed inferences.
        max_samples: Most number of timed inferences.
        min_time_s: Sampling goes on at least this long, up to ``max_samples``.
        timeout_s: Wall-clock limit for the whole measurement, after which the
            server is killed and the measurement retried once.
        repeats: How often a measurement that was disturbed is repeated.
        cooldown_s: Pause before that.
    """

    warmup_s: float = 0.05
    min_samples: int = 200
    max_samples: int = 2000
    min_time_s: float = 0.1
    timeout_s: float = 60.0
    repeats: int = 2
    cooldown_s: float = 1.0


@dataclass(frozen=True)
class Artifact:
    """What a target's toolchain made of one ONNX model.

    Args:
        target: Name of the target.
        path: The library or model file, in the cache.
        sha256: Of that file's content.
        model_sha256: Of the serialized ONNX model it was made from.
        flash_bytes: What the model takes in flash: code and constants.
        peak_ram_bytes: Largest sum of live activations, inputs and outputs included.
        compile_s: Seconds the toolchain took (0 when it came from the cache).
        parity_max_abs_error: Largest absolute difference from ONNX Runtime's outputs.
        input_shapes: Of the model's float32 inputs, batch axis included.
    """

    target: str
    path: Path
    sha256: str
    model_sha256: str
    flash_bytes: int
    peak_ram_bytes: int
    compile_s: float
    parity_max_abs_error: float
    input_shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Measurement:
    """Observed cost of one artifact.

    Args:
        target: Name of the target.
        model_sha256: Of the ONNX model measured.
        artifact_sha256: Of the artifact measured.
        latency_s: One entry per timed inference, all kept; of several timings the fastest.
        flash_bytes: As in `Artifact`.
        peak_ram_bytes: As in `Artifact`.
        config: How it was timed.
        provenance: ``measured`` on the device itself, ``emulated`` otherwise.
        device_state: Threads, governor, clock, load, toolchain versions before the samples;
            what may have changed, again with ``after_`` in front of its name.
        measured_at: ISO 8601 time, UTC.
        energy: What power meters said; ``None`` where none was asked.
        flags: Doubts about it.
        tail_latency_s: Likewise, of the timing with the slowest tail, where there were several
            and that is another one; see `targets.timings.joined`.
    """

    target: str
    model_sha256: str
    artifact_sha256: str
    latency_s: tuple[float, ...]
    flash_bytes: int
    peak_ram_bytes: int
    config: MeasureConfig
    provenance: Provenance
    device_state: Mapping[str, str | int | float | None] = field(default_factory=dict)
    measured_at: str = ""
    energy: EnergyMeasurement | None = None
    flags: tuple[Flag, ...] = ()
    tail_latency_s: tuple[float, ...] = ()

    @property
    def disturbed(self) -> bool:
        """Whether the device changed its speed meanwhile, so that it should be repeated."""
        return "throttled" in self.flags or "drifting" in self.flags

    @property
    def latency_median_s(self) -> float:
        """Median latency."""
        return float(np.median(self.latency_s))

    @property
    def tail_samples_s(self) -> tuple[float, ...]:
        """Samples of the timing with the slowest tail: what its high percentiles are taken of."""
        return self.tail_latency_s or self.latency_s

    @property
    def latency_p99_s(self) -> float:
        """99th percentile of the latency."""
        return float(np.percentile(self.tail_samples_s, 99))

    def latency_interval_s(self, confidence: float = 0.95) -> tuple[float, float]:
        """Distribution-free confidence interval of the median latency.

        Order statistics ``k`` and ``n - 1 - k`` with
        ``k = floor(n/2 - z sqrt(n)/2)`` (normal approximation to the binomial).

        References:
            Conover (1999), Practical Nonparametric Statistics, Sec. 3.2.
        """
        from statistics import NormalDist

        ordered = np.sort(self.latency_s)
        n = len(ordered)
        z = NormalDist().inv_cdf(0.5 + confidence / 2)
        k = max(0, int(n / 2 - z * np.sqrt(n) / 2))
        return float(ordered[k]), float(ordered[n - 1 - k])


@dataclass(frozen=True)
class Failure:
    """An expected failure of a board or toolchain: a value, never an exception.

    Args:
        target: Name of the target.
        stage: Where it failed.
        message: One line: what happened and what to check.
        model_sha256: Of the ONNX model concerned.
    """

    target: str
    stage: FailureStage
    message: str
    model_sha256: str = ""


@runtime_checkable
class Target(Protocol):
    """A device plus its toolchain. Sees ONNX models only.

    A target is a context manager: it starts its servers on first use and stops
    them on exit.
    """

    @property
    def spec(self) -> TargetSpec:
        """Its description, from ``targets/boards/<name>.yaml``."""
        ...

    @property
    def name(self) -> str:
        """Name of the target."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that can change a measurement."""
        ...

    def compile(self, model: onnx.ModelProto) -> Artifact | Failure:
        """Compile a model, check parity with ONNX Runtime, and cache the result."""
        ...

    def measure(
        self, artifact: Artifact, config: MeasureConfig = MeasureConfig(), *, fresh: bool = False
    ) -> Measurement | Failure:
        """Time an artifact on the device.

        Args:
            artifact: From this target's `compile`.
            config: How to time it.
            fresh: Measure again even if the cache holds a measurement.
        """
        ...

    def measure_energy(
        self,
        artifacts: Sequence[Artifact],
        config: EnergyConfig = EnergyConfig(),
        *,
        fresh: bool = False,
        observer: EnergyObserver | None = None,
    ) -> list[EnergyMeasurement | Failure]:
        """Measure the energy of one inference of each artifact with the target's power meters.

        Trials of several artifacts are made in random order, so that a drift of the device
        looks like no difference between them.

        Args:
            artifacts: From this target's `compile`.
            config: How to measure.
            fresh: Measure again even if the cache holds measurements.
            observer: Told of every trial: one takes half a minute and more.

        Returns:
            One result per artifact, in their order.
        """
        ...

    def run(
        self, artifact: Artifact, inputs: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], ...] | Failure:
        """Run an artifact once on the device and return its outputs."""
        ...

    def close(self) -> None:
        """Stop every process the target started."""
        ...

    def __enter__(self) -> Target: ...

    def __exit__(self, *exc_info: object) -> None: ...


@runtime_checkable
class TunableTarget(Target, Protocol):
    """A target that can look for faster code."""

    def tune(
        self,
        models: Sequence[onnx.ModelProto],
        seconds: float,
        observer: Callable[[TunedKernel, int, int], None] | None = None,
    ) -> list[TunedKernel] | Failure:
        """Tune the kernels of models that were not tuned before.

        Args:
            models: With static shapes.
            seconds: No kernel is begun after so long.
            observer: Told of every result, with how many are done of how many.
        """
        ...


@runtime_checkable
class KernelTarget(Target, Protocol):
    """A target that knows which kernels a model becomes, and can time each by itself."""

    def measure_kernels(
        self, models: Sequence[onnx.ModelProto]
    ) -> list[tuple[KernelTime, ...] | Failure]:
        """Time the kernels that models become; those timed before are looked up.

        Args:
            models: With static shapes.

        Returns:
            Per model the times of the kernels it calls, in execution order.
        """
        ...
