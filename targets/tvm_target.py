"""Code made by TVM for a CPU, measured through TVM's RPC in a process of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from targets._types import Artifact, FailureStage
from targets.cached_target import (
    Arrays,
    Built,
    CachedTarget,
    CompileError,
    DeviceLostError,
    DeviceRefusedError,
    last_line,
)
from targets.rpc_host import RpcHost

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from targets.spec import TargetSpec
    from targets.tvm_compiler import TvmCompiler

_SHAPES_CODE = ("tvm_import.py", "tvm_schedule.py", "tvm_kernels.py", "tvm_build.py")


class TvmTarget(CachedTarget):
    """A CPU whose code TVM makes, behind a TVM RPC tracker and server on loopback.

    Args:
        spec: Its description.
        cache_dir: As for `targets.create`.
    """

    def __init__(self, spec: TargetSpec, cache_dir: Path | None = None) -> None:
        super().__init__(spec, _code_version(), ".so", cache_dir)
        self._host = RpcHost(spec.threads)
        self._tvm_compiler: TvmCompiler | None = None

    @property
    def process_ids(self) -> dict[str, int]:
        """Process (and group) id of each of ``tracker`` and ``server`` that runs."""
        return self._host.process_ids

    def close(self) -> None:
        """Stop tracker and server."""
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
            self._tvm_compiler = TvmCompiler(self._spec, self._cache.folder)
        return self._tvm_compiler

    @contextmanager
    def _open(self, artifact: Artifact, timeout_s: float) -> Iterator[_VirtualMachine]:
        from tvm.error import RPCError

        library = bytearray(artifact.path.read_bytes())
        stage: FailureStage = "connect"
        try:
            with self._host.session(timeout_s) as session:
                stage = "upload"
                session.upload(library, target="model.so")
                machine = _VirtualMachine(session, "model.so")
                stage = "run"
                yield machine
        except RPCError as error:  # the server lives and passes on what was raised there
            raise DeviceRefusedError(last_line(error)) from error
        except TimeoutError:
            raise
        except (RuntimeError, OSError) as error:  # the connection is closed, or never was
            raise DeviceLostError(stage, last_line(error)) from error


class _VirtualMachine:
    """TVM's virtual machine with a model, at the other end of an RPC session."""

    def __init__(self, session: Any, library: str) -> None:
        from tvm import relax

        self._device = session.cpu(0)
        self._machine = relax.VirtualMachine(session.load_module(library), self._device)

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> Arrays:
        self._set_inputs(inputs)
        self._machine.invoke_stateful("main")
        # not VirtualMachine.get_outputs: its reference cycle would keep the session open
        get_output = self._machine.module["get_output"]
        n_outputs = int(self._machine.module["get_output_arity"]("main"))
        indices: list[tuple[int, ...]] = [()] if n_outputs < 0 else [(i,) for i in range(n_outputs)]
        return tuple(np.asarray(get_output("main", *i).numpy()) for i in indices)

    def time(self, inputs: Sequence[NDArray[np.float32]], n_inferences: int) -> tuple[float, ...]:
        self._set_inputs(inputs)
        evaluate = self._machine.time_evaluator(
            "invoke_stateful", self._device, number=1, repeat=n_inferences
        )
        return tuple(float(seconds) for seconds in evaluate("main").results)

    def _set_inputs(self, inputs: Sequence[NDArray[np.float32]]) -> None:
        import tvm

        tensors = (tvm.runtime.tensor(np.ascontiguousarray(x), self._device) for x in inputs)
        self._machine.set_input("main", *tensors)


def _code_version() -> str:
    """Changes whenever the rules that make code do, so that no stale artifact is found."""
    sources = (Path(__file__).with_name(name).read_bytes() for name in _SHAPES_CODE)
    return hashlib.sha256(b"".join(sources)).hexdigest()
