"""Code made by TVM for a CPU, measured through TVM's RPC in a process of its own."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from targets._types import Artifact, Failure, FailureStage, MeasureConfig, Measurement
from targets.cache import Cache
from targets.device_state import device_state
from targets.parity import ParityError, input_shapes, largest_error, reference_of
from targets.rpc_host import RpcError, RpcHost

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from targets.spec import TargetSpec

T = TypeVar("T")

_RUN_TIMEOUT_S = 60.0
_ATTEMPTS = 2
_PROBES = 5  # timed inferences that tell how many fill the warm-up and the sampling time
_SEED = 0


class TvmTarget:
    """A CPU whose code TVM makes, behind a TVM RPC tracker and server on loopback.

    Args:
        spec: Its description.
        cache_dir: As for `targets.create`.
    """

    def __init__(self, spec: TargetSpec, cache_dir: Path | None = None) -> None:
        from targets.tvm_schedule import SCHEDULE_VERSION

        self._spec = spec
        self._host = RpcHost(spec.threads)
        self._cache = Cache(spec, f"schedule {SCHEDULE_VERSION}", ".so", cache_dir)

    @property
    def spec(self) -> TargetSpec:
        """Its description."""
        return self._spec

    @property
    def name(self) -> str:
        """Name of the target."""
        return self._spec.name

    def compile(self, model: onnx.ModelProto) -> Artifact | Failure:
        """Compile a model, check parity with ONNX Runtime on the device, cache the result."""
        model_sha256 = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
        if cached := self._cache.artifact(model_sha256):
            return cached
        fail = _Failing(self.name, model_sha256)
        with tempfile.TemporaryDirectory() as folder:
            artifact = self._build(model, Path(folder) / "model.so", fail)
            if isinstance(artifact, Failure):
                return artifact
            error = self._parity_error(model, artifact, fail)
            if isinstance(error, Failure):
                return error
            return self._cache.store_artifact(replace(artifact, parity_max_abs_error=error))

    def measure(
        self, artifact: Artifact, config: MeasureConfig = MeasureConfig(), *, fresh: bool = False
    ) -> Measurement | Failure:
        """Time an artifact with TVM's ``time_evaluator``: one inference per sample."""
        if not fresh and (cached := self._cache.measurement(artifact, config)):
            return cached
        fail = _Failing(self.name, artifact.model_sha256)
        latency_s = self._on_device(
            artifact, lambda loaded: loaded.time(config), config.timeout_s, fail
        )
        if isinstance(latency_s, Failure):
            return latency_s
        measurement = Measurement(
            target=self.name,
            model_sha256=artifact.model_sha256,
            artifact_sha256=artifact.sha256,
            latency_s=latency_s,
            flash_bytes=artifact.flash_bytes,
            peak_ram_bytes=artifact.peak_ram_bytes,
            config=config,
            provenance=self._spec.provenance,
            device_state={"threads": self._spec.threads, **device_state()},
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._cache.store_measurement(artifact, measurement)
        return measurement

    def run(
        self, artifact: Artifact, inputs: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], ...] | Failure:
        """Run an artifact once on the device and return its outputs."""
        fail = _Failing(self.name, artifact.model_sha256)
        return self._on_device(artifact, lambda loaded: loaded.run(inputs), _RUN_TIMEOUT_S, fail)

    def close(self) -> None:
        """Stop tracker and server."""
        self._host.close()

    def __enter__(self) -> TvmTarget:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _build(self, model: onnx.ModelProto, path: Path, fail: _Failing) -> Artifact | Failure:
        from targets.tvm_build import build_library, compiler_is_missing, llvm_target

        if missing := compiler_is_missing():
            return fail("compile", missing)
        start = time.perf_counter()
        try:
            library = build_library(
                model, llvm_target(self._spec.tvm_target, self._spec.threads), path
            )
        except RuntimeError as error:
            return fail("compile", error)
        return Artifact(
            target=self.name,
            path=path,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            model_sha256=fail.model_sha256,
            flash_bytes=library.flash_bytes,
            peak_ram_bytes=library.peak_ram_bytes,
            compile_s=time.perf_counter() - start,
            parity_max_abs_error=float("nan"),
            input_shapes=tuple(input_shapes(model).values()),
        )

    def _parity_error(
        self, model: onnx.ModelProto, artifact: Artifact, fail: _Failing
    ) -> float | Failure:
        try:
            reference = reference_of(model)
        except ParityError as error:
            return fail("parity", error)
        except Exception as error:  # whatever an unknown operator makes ONNX Runtime raise
            return fail("compile", error)

        def compare(loaded: _Loaded) -> float | Failure:
            try:
                return largest_error(reference, loaded.run)
            except ParityError as error:
                return fail("parity", error)

        return self._on_device(artifact, compare, _RUN_TIMEOUT_S, fail)

    def _on_device(
        self,
        artifact: Artifact,
        work: Callable[[_Loaded], T],
        timeout_s: float,
        fail: _Failing,
    ) -> T | Failure:
        """Upload, load, and do something; once more, on new servers, if they died or hung."""
        from tvm.error import RPCError as DeviceError

        failure = fail("run", "not tried")
        for _ in range(_ATTEMPTS):
            stage: FailureStage = "connect"
            try:
                with self._host.session(timeout_s) as session:
                    stage = "upload"
                    loaded = _Loaded.upload(session, artifact)
                    stage = "run"
                    return work(loaded)
            except DeviceError as error:
                return fail("run", error)  # the server lives and says what is wrong
            except TimeoutError as error:
                failure = fail("timeout", error)
            except (RpcError, RuntimeError, OSError) as error:
                failure = fail(stage, error)
            self._host.kill()
        return failure


@dataclass(frozen=True)
class _Failing:
    """Makes the failures of one model on one target."""

    target: str
    model_sha256: str

    def __call__(self, stage: FailureStage, reason: Exception | str) -> Failure:
        lines = str(reason).strip().splitlines() or [type(reason).__name__]
        return Failure(self.target, stage, lines[-1].strip()[:500], self.model_sha256)


@dataclass(frozen=True)
class _Loaded:
    """An artifact loaded into the virtual machine of an RPC session."""

    machine: Any
    device: Any
    input_shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def upload(cls, session: Any, artifact: Artifact) -> _Loaded:
        from tvm import relax

        session.upload(bytearray(artifact.path.read_bytes()), target="model.so")
        device = session.cpu(0)
        machine = relax.VirtualMachine(session.load_module("model.so"), device)
        return cls(machine, device, artifact.input_shapes)

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], ...]:
        self._set_inputs(inputs)
        self.machine.invoke_stateful("main")
        # not VirtualMachine.get_outputs: its reference cycle would keep the session open
        get_output = self.machine.module["get_output"]
        n_outputs = int(self.machine.module["get_output_arity"]("main"))
        indices = [()] if n_outputs < 0 else [(i,) for i in range(n_outputs)]
        return tuple(np.asarray(get_output("main", *i).numpy()) for i in indices)

    def time(self, config: MeasureConfig) -> tuple[float, ...]:
        """Return seconds of each inference; inputs are set before, outputs read after."""
        rng = np.random.default_rng(_SEED)
        self._set_inputs([rng.standard_normal(s, dtype=np.float32) for s in self.input_shapes])
        typical_s = float(np.median(self._time(_PROBES)))
        self._time(max(1, round(config.warmup_s / typical_s)))
        wanted = round(config.min_time_s / typical_s)
        return self._time(min(max(wanted, config.min_samples), config.max_samples))

    def _time(self, n: int) -> tuple[float, ...]:
        evaluator = self.machine.time_evaluator("invoke_stateful", self.device, number=1, repeat=n)
        return tuple(float(seconds) for seconds in evaluator("main").results)

    def _set_inputs(self, inputs: Sequence[NDArray[np.float32]]) -> None:
        import tvm

        tensors = (tvm.runtime.tensor(np.ascontiguousarray(x), self.device) for x in inputs)
        self.machine.set_input("main", *tensors)
