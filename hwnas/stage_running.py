"""Run the ONNX graphs of a network's stages on many samples at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

_BATCH = 128
_ERRORS = 3  # a severity of ONNX Runtime's log


def run_stage_models(
    models: Sequence[onnx.ModelProto], samples: NDArray[np.float32]
) -> tuple[NDArray[np.float32], ...]:
    """Return what every exit of a network answers, by ONNX Runtime on one core.

    All samples run through all stages, many at a time: for accuracies, not for latencies.

    Args:
        models: One per stage, of batch 1, in execution order. Each reads ``input`` and writes
            ``logits``; all but the last write ``features``, too, which the next one reads.
        samples: Shape ``(N, C, H, W)``; what the first of ``models`` reads.

    Returns:
        Logits of every exit, each ``(N, classes)``.
    """
    exits: list[list[NDArray[np.float32]]] = [[] for _ in models]
    sessions = [open_session(batched(model)) for model in models]
    for start in range(0, len(samples), _BATCH):
        x = samples[start : start + _BATCH]
        for logits, session in zip(exits, sessions, strict=True):
            outputs = session.run(None, {"input": x})
            logits.append(outputs[0])
            x = outputs[-1]
    return tuple(np.concatenate(parts) for parts in exits)


def open_session(model: onnx.ModelProto) -> Any:
    """Return an ONNX Runtime session of one thread, with all its optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _ERRORS
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def batched(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model of batch 1 that takes any number of samples."""
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]  # shapes of batch 1
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for constant in graph.initializer:
        if constant.name in shapes:
            shape = numpy_helper.to_array(constant).copy()
            if shape[0] == 1:
                shape[0] = 0  # as many as come in
                constant.CopyFrom(numpy_helper.from_array(shape, constant.name))
    return copy
