"""Code made by TVM, measured through TVM's RPC: on this computer, or on boards."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets._types import Artifact, Failure, FailureStage
from targets.board_pool import BoardPool
from targets.cache import Cache, default_cache_dir
from targets.cached_target import Built, CachedTarget
from targets.child_process import ProcessEndedError, watchdog
from targets.code_version import GRAPH_RULES, code_version
from targets.cpu_clock import journal_name, pinned
from targets.device_state import device_state
from targets.kernel_database import KernelDatabase, KernelTime
from targets.operating_points import require_power_mode
from targets.rpc_client import Endpoint, RpcSession
from targets.rpc_host import RpcHost
from targets.target_errors import CompileError, DeviceLostError, DeviceRefusedError, last_line
from targets.tuning_database import TunedKernel, TuningDatabase

if TYPE_CHECKING:
    import onnx

    from targets.spec import TargetSpec
    from targets.tvm_compiler import TvmCompiler

_TUNING_TIMEOUT_S = 120.0


class TvmTarget(CachedTarget):
    """A device whose code TVM makes, behind a TVM RPC tracker.

    Where its description names no tracker, the device is this computer: a tracker and
    a server are started on loopback on first use.

    Args:
        spec: Its description.
        cache_dir: As for `targets.create`.
    """

    def __init__(self, spec: TargetSpec, cache_dir: Path | None = None) -> None:
        folder = cache_dir or default_cache_dir()
        self._database = TuningDatabase(folder, spec)
        super().__init__(spec, self._code_version, ".so", folder)
        self._host = RpcHost(spec.threads) if spec.rpc is None else None
        self._pool = BoardPool()
        # on this computer there is one server; of several boards one may be the culprit
        self.attempts = 2 if spec.rpc is None else 3
        self._tvm_compiler: TvmCompiler | None = None

    @property
    def process_ids(self) -> dict[str, int]:
        """Process (and group) id of each of ``client``, ``tracker`` and ``server`` that runs."""
        return self._pool.process_ids | (self._host.process_ids if self._host else {})

    @property
    def quarantined(self) -> tuple[str, ...]:
        """Addresses of boards that failed repeatedly and are not used any more."""
        return self._pool.quarantined

    def close(self) -> None:
        """Stop every process that was started here."""
        self._pool.close()
        if self._host is not None:
            self._host.kill()

    def _build(self, model: onnx.ModelProto, path: Path) -> Built:
        compiler = self._compiler()
        start = time.perf_counter()
        try:
            library = compiler.build(model, path)
        except RuntimeError as error:  # all of TVM's errors are such
            raise CompileError(last_line(error)) from error
        compile_s = time.perf_counter() - start
        return Built(library.flash_bytes, library.peak_ram_bytes, compile_s)

    def _compiler(self) -> TvmCompiler:
        from targets.tvm_compiler import TvmCompiler

        if self._tvm_compiler is None:
            self._tvm_compiler = TvmCompiler(self._spec, self._cache.folder, self._database)
        return self._tvm_compiler

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that can change a measurement, tuned kernels included."""
        parts = (self._spec.fingerprint, self._database.digest)
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def tune(
        self,
        models: Sequence[onnx.ModelProto],
        seconds: float,
        observer: Callable[[TunedKernel, int, int], None] | None = None,
    ) -> list[TunedKernel] | Failure:
        """Find better tiles for the kernels of models, on the device.

        What is found is kept, kernel by kernel, and from now on used in every model
        and process; what was compiled and measured before is not found any more.

        Args:
            models: With static shapes.
            seconds: No kernel is begun after so long.
            observer: Told of every result, with how many are done of how many.

        Returns:
            The kernels tuned now: those that were tuned before are left as they are.
        """
        end = time.monotonic() + seconds
        results: list[TunedKernel] = []

        def keep(kernel: TunedKernel, done: int, total: int) -> None:
            results.append(kernel)
            if observer is not None:
                observer(kernel, done, total)

        try:
            return self._tune(models, end, keep, results)
        except (DeviceLostError, DeviceRefusedError) as error:
            return self._failure(error.stage, error, "")
        except TimeoutError as error:
            return self._failure("timeout", error, "")
        except RuntimeError as error:  # all of TVM's errors are such
            return self._failure("compile", error, "")
        finally:
            self._cache = Cache(self._spec, self._code_version, ".so", self._cache.folder)

    def _tune(
        self,
        models: Sequence[onnx.ModelProto],
        end: float,
        observer: Callable[[TunedKernel, int, int], None],
        results: list[TunedKernel],
    ) -> list[TunedKernel]:
        """Tune until a time; a device that gets lost costs the kernel in flight, once or twice."""
        for attempt in range(1, self.attempts + 1):
            try:
                open_session = partial(self.session, _TUNING_TIMEOUT_S, f"tuning {attempt}")
                seconds = max(0.0, end - time.monotonic())
                self._compiler().tune(models, open_session, seconds, observer)
                break
            except (DeviceLostError, TimeoutError):
                self.close()
                if attempt == self.attempts:
                    raise
        return results

    def measure_kernels(
        self, models: Sequence[onnx.ModelProto]
    ) -> list[tuple[KernelTime, ...] | Failure]:
        """Time the kernels that models become, each once; see `KernelTarget`."""
        from targets.kernel_calls import called_kernels
        from targets.tvm_kernels import kernels_of

        fused = [self._fused(model) for model in models]
        modules = [module for module in fused if not isinstance(module, Failure)]
        # what only reshapes became a view: its kernel is there still, but nothing calls it
        kernels = {name: kernels_of(m)[name] for m in modules for name in called_kernels(m)}
        times = self._kernel_times(kernels)
        results: list[tuple[KernelTime, ...] | Failure] = []
        for module in fused:
            if isinstance(module, Failure):
                results.append(module)
            elif isinstance(times, Failure):
                results.append(times)
            else:
                results.append(tuple(times[name] for name in called_kernels(module)))
        return results

    def _fused(self, model: onnx.ModelProto) -> Any:
        from targets.tvm_build import fuse

        try:
            return fuse(model)
        except RuntimeError as error:  # all of TVM's errors are such
            return self._failure("compile", error, "")

    def _kernel_times(self, kernels: Mapping[str, Any]) -> dict[str, KernelTime] | Failure:
        """Return the time of each kernel; what a device that gets lost had timed is kept."""
        from targets.tvm_kernel_timing import KernelTimer

        database = KernelDatabase(self._cache.folder, self._spec)
        timer = KernelTimer(
            self._compiler().kernels,
            self._timing_session,
            self._spec.linker,
            self._spec.provenance,
        )
        stage: FailureStage = "run"
        reason = ""
        for _ in range(self.attempts):
            try:
                return timer.time(kernels, self._database.tiles(kernels), database)
            except DeviceRefusedError as error:
                return self._failure(error.stage, error, "")
            except TimeoutError as error:
                stage, reason = "timeout", last_line(error)
            except DeviceLostError as error:
                stage, reason = error.stage, last_line(error)
            except RuntimeError as error:  # all of TVM's errors are such
                return self._failure("compile", error, "")
            self.close()
        return self._failure(stage, reason, "")

    @contextmanager
    def _timing_session(self) -> Iterator[RpcSession]:
        """Reach the device in the state in which networks are measured."""
        with self.session(_TUNING_TIMEOUT_S, "kernels") as session:
            journal = self._cache.folder / "clocks" / journal_name(session.files)
            with pinned(session.files, self._spec.clock_khz, journal):
                require_power_mode(self._spec, device_state(session.files))
                yield session

    @property
    def _code_version(self) -> str:
        return code_version(*GRAPH_RULES) + self._database.digest

    @contextmanager
    def session(self, timeout_s: float, work: str = "") -> Iterator[RpcSession]:
        """Reach the device.

        A session on this computer's own server stays open for the next one; a board,
        which others may wait for, is given back.

        Args:
            timeout_s: From now until the end of the ``with`` block.
            work: What it is for; see `BoardPool`.

        Raises:
            DeviceRefusedError: If there is no board, or it says what is wrong.
            DeviceLostError: If it is gone.
            TimeoutError: Instead of these, if the time was over.
        """
        try:
            with watchdog(timeout_s, self._interrupt):
                try:
                    # a session on this computer stays open for others after this one
                    session_timeout_s = 0.0 if self._host else timeout_s
                    yield self._pool.open(self._endpoint(), session_timeout_s)
                except DeviceRefusedError:
                    self._pool.give_back()
                    raise
                if self._host is None:
                    self._pool.give_back()
        except DeviceRefusedError:
            raise
        except DeviceLostError as error:
            raise DeviceLostError(error.stage, self._lost(error, work)) from None
        except TimeoutError as error:
            raise TimeoutError(self._lost(error, work)) from None
        except BaseException:  # Ctrl-C, or a bug: no fault of the board
            self._pool.close()
            raise

    def _lost(self, error: Exception, work: str) -> str:
        """Count a loss against the board, and name it."""
        address = self._pool.abandon(work, error)
        return str(error) if self._host or address is None else f"board {address}: {error}"

    @contextmanager
    def _open(self, artifact: Artifact, timeout_s: float) -> Iterator[RpcSession]:
        library = artifact.path.read_bytes()
        with self.session(timeout_s, artifact.sha256) as session:
            session.load(library)
            yield session

    def _endpoint(self) -> Endpoint:
        if self._host is None:
            return _endpoint(self._spec)
        try:
            return self._host.start()
        except ProcessEndedError as error:
            raise DeviceLostError("connect", error) from None

    def _interrupt(self) -> None:
        """End whatever waits for the device, from another thread."""
        self._pool.interrupt()
        if self._host is not None:
            self._host.kill()


def _endpoint(spec: TargetSpec) -> Endpoint:
    if spec.rpc is None:
        raise ValueError(f"target {spec.name!r} names no tracker")
    host, _, port = spec.rpc.tracker.rpartition(":")
    return Endpoint(host.strip("[]"), int(port), spec.rpc.key, spec.rpc.device, spec.rpc.wait_s)
