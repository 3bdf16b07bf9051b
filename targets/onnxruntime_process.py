"""What runs in ONNX Runtime's own process: ``python -m targets.onnxruntime_process``.

A request is a line of JSON on standard input, and so is the answer on standard
output; arrays follow each as an ``.npz`` of the stated size. The process ends when
its standard input closes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from targets.npz import pack, unpack

Arrays: TypeAlias = "tuple[NDArray[np.float32], ...]"

_CLOCK = time.perf_counter_ns


class _Worker:
    """Serves requests; keeps the session of the last model."""

    def __init__(self) -> None:
        self._model = b""
        self._session: Any = None
        self._threads = 1

    def optimize(self, request: dict[str, Any], model: bytes) -> dict[str, Any]:
        """Write the model as ONNX Runtime optimizes it for this CPU."""
        options = _options(int(request["threads"]))
        options.optimized_model_filepath = request["path"]
        _open_session(model, options)
        return {}

    def load(self, request: dict[str, Any], model: bytes) -> dict[str, Any]:
        """Open a session on an optimized model."""
        self._session = _open_session(model, _options(int(request["threads"])))
        return {}

    def run(self, request: dict[str, Any], arrays: bytes) -> Arrays:
        """Run the loaded model once."""
        names = [node.name for node in self._session.get_inputs()]
        return tuple(self._session.run(None, dict(zip(names, unpack(arrays), strict=True))))

    def time(self, request: dict[str, Any], arrays: bytes) -> dict[str, Any]:
        """Time the loaded model; inputs and outputs are bound before."""
        binding, run, clock = self._bound(arrays), self._session.run_with_iobinding, _CLOCK
        run(binding)
        elapsed_ns = []
        for _ in range(int(request["n_inferences"])):
            start = clock()
            run(binding)
            elapsed_ns.append(clock() - start)
        return {"latency_s": [n / 1e9 for n in elapsed_ns]}

    def loop(self, request: dict[str, Any], arrays: bytes) -> dict[str, Any]:
        """Run the loaded model without a pause; return the mean time in each block of runs."""
        binding, run, clock = self._bound(arrays), self._session.run_with_iobinding, _CLOCK
        n = int(request["n_per_block"])
        moments_ns = [clock()]
        for _ in range(int(request["n_blocks"])):
            for _ in range(n):
                run(binding)
            moments_ns.append(clock())
        return {"latency_s": (np.diff(moments_ns) / n / 1e9).tolist()}

    def _bound(self, arrays: bytes) -> Any:
        binding = self._session.io_binding()
        for node, array in zip(self._session.get_inputs(), unpack(arrays), strict=True):
            binding.bind_cpu_input(node.name, array)
        for node in self._session.get_outputs():
            binding.bind_output(node.name, "cpu")
        return binding


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return options


def _open_session(model: bytes, options: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _answer(handle: Callable[..., Any], request: dict[str, Any], content: bytes) -> bytes:
    try:
        result = handle(request, content)
    except Exception as error:  # passed on to the parent: its types share no base but this
        header, arrays = {"error": f"{type(error).__name__}: {error}"}, b""
    else:
        header, arrays = ({}, pack(result)) if isinstance(result, tuple) else (result, b"")
    return json.dumps({**header, "size": len(arrays)}).encode() + b"\n" + arrays


def main() -> None:
    """Answer requests until standard input closes."""
    worker = _Worker()
    handlers = {"optimize": worker.optimize, "load": worker.load} | {
        "run": worker.run, "time": worker.time, "loop": worker.loop,
    }  # fmt: skip
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        content = sys.stdin.buffer.read(request["size"])
        sys.stdout.buffer.write(_answer(handlers[request["command"]], request, content))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
