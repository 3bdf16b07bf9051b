"""ONNX Runtime on this computer's CPU, in a process of its own."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets._types import Artifact, FailureStage
from targets.cached_target import Arrays, Built, CachedTarget
from targets.child_process import ChildProcess, ProcessEndedError, watchdog
from targets.device_files import LocalFiles
from targets.npz import pack, unpack
from targets.target_errors import CompileError, DeviceLostError, DeviceRefusedError, last_line

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from targets.spec import TargetSpec

_COMPILE_TIMEOUT_S = 120.0


class OnnxRuntimeTarget(CachedTarget):
    """This computer's CPU with ONNX Runtime's own kernels.

    An artifact is the model as ONNX Runtime optimizes it for this CPU; its flash is
    the size of that file, without the runtime. Peak RAM is estimated from the graph:
    see `targets.onnx_liveness`.

    Args:
        spec: Its description.
        cache_dir: As for `targets.create`.
    """

    def __init__(self, spec: TargetSpec, cache_dir: Path | None = None) -> None:
        super().__init__(spec, "onnxruntime", ".onnx", cache_dir)
        self._workers: list[ChildProcess] = []
        weakref.finalize(self, _kill_all, self._workers)

    @property
    def process_ids(self) -> dict[str, int]:
        """Process (and group) id of the ``worker``, if it runs."""
        running = (worker.pid for worker in self._workers if worker.is_alive)
        return dict(zip(("worker",), running, strict=False))

    def close(self) -> None:
        """Stop the worker."""
        _kill_all(self._workers)

    def _build(self, model: onnx.ModelProto, path: Path) -> Built:
        from targets.onnx_liveness import peak_activation_bytes

        try:
            with watchdog(_COMPILE_TIMEOUT_S, self.close):
                worker = self._worker()
                start = time.perf_counter()
                _ask(worker, "optimize", model.SerializeToString(), path=str(path), **self._limits)
        except (DeviceRefusedError, ProcessEndedError, TimeoutError) as error:
            raise CompileError(last_line(error)) from error
        compile_s = time.perf_counter() - start
        return Built(path.stat().st_size, peak_activation_bytes(model), compile_s)

    @contextmanager
    def _open(self, artifact: Artifact, timeout_s: float) -> Iterator[_Session]:
        model = artifact.path.read_bytes()
        stage: FailureStage = "connect"
        try:
            with watchdog(timeout_s, self.close):
                worker = self._worker()
                stage = "upload"
                _ask(worker, "load", model, **self._limits)
                stage = "run"
                yield _Session(worker)
        except ProcessEndedError as error:
            raise DeviceLostError(stage, error) from error

    @property
    def _limits(self) -> dict[str, int]:
        return {"threads": self._spec.threads}

    def _worker(self) -> ChildProcess:
        if not self.process_ids:
            self.close()
            self._workers.append(
                ChildProcess("targets.onnxruntime_process", threads=self._spec.threads)
            )
        return self._workers[0]


class _Session:
    """A model loaded in the worker."""

    def __init__(self, worker: ChildProcess) -> None:
        self._worker = worker

    @property
    def files(self) -> LocalFiles:
        return LocalFiles()

    @property
    def address(self) -> str:
        return ""

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> Arrays:
        return unpack(_ask(self._worker, "run", pack(inputs))[1])

    def time(self, inputs: Sequence[NDArray[np.float32]], n_inferences: int) -> tuple[float, ...]:
        header, _ = _ask(self._worker, "time", pack(inputs), n_inferences=n_inferences)
        return tuple(header["latency_s"])

    def loop(
        self, inputs: Sequence[NDArray[np.float32]], n_per_block: int, n_blocks: int
    ) -> tuple[float, ...]:
        header, _ = _ask(
            self._worker, "loop", pack(inputs), n_per_block=n_per_block, n_blocks=n_blocks
        )
        return tuple(header["latency_s"])

    def meter_channel(self) -> None:
        return None


def _ask(
    worker: ChildProcess, command: str, content: bytes, **arguments: Any
) -> tuple[dict[str, Any], bytes]:
    request = {"command": command, "size": len(content), **arguments}
    worker.send(json.dumps(request).encode() + b"\n" + content)
    header = json.loads(worker.receive_line())
    answer = worker.receive(header["size"])
    if "error" in header:
        raise DeviceRefusedError(header["error"])
    return header, answer


def _kill_all(workers: list[ChildProcess]) -> None:
    while workers:
        workers.pop().kill()
