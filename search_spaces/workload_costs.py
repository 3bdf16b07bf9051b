"""Multiply-accumulates, parameters and bytes of workloads, in closed form."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import prod

from search_spaces._types import Workload

_BYTES = {"float32": 4, "float16": 2, "int8": 1}


@cache
def macs(workload: Workload) -> int:
    """Return multiply-accumulates (1 MAC = 2 FLOPs); additions and pooling count none.

    ``H W C_out k_h k_w C_in`` for a convolution, without ``C_in`` for a
    depthwise one; ``in out`` for a linear layer; one per element for ``scale``.

    Raises:
        LookupError: For an operator it does not know.
    """
    kernel, outputs = prod(workload.kernel), prod(workload.output_shape)
    match workload.op:
        case "conv2d":
            return outputs * kernel * workload.input_shape[0]
        case "depthwise_conv2d":
            return outputs * kernel
        case "linear":
            return workload.input_shape[0] * workload.output_shape[0]
        case "scale":
            return outputs
        case "global_avg_pool" | "add" | "copy":
            return 0
    raise LookupError(f"no cost is known of operator {workload.op!r}")


@cache
def n_params(workload: Workload) -> int:
    """Return parameters, biases included (batch normalization is folded into them).

    Raises:
        LookupError: For an operator it does not know.
    """
    kernel = prod(workload.kernel)
    match workload.op:
        case "conv2d":
            return workload.output_shape[0] * (workload.input_shape[0] * kernel + 1)
        case "depthwise_conv2d":
            return workload.output_shape[0] * (kernel + 1)
        case "linear":
            return workload.output_shape[0] * (workload.input_shape[0] + 1)
        case "global_avg_pool" | "add" | "scale" | "copy":
            return 0
    raise LookupError(f"no cost is known of operator {workload.op!r}")


@cache
def bytes_moved(workload: Workload) -> int:
    """Return bytes of all inputs, parameters and outputs, each counted once."""
    second = {"add": prod(workload.input_shape), "scale": workload.input_shape[0]}
    elements = (
        prod(workload.input_shape)
        + second.get(workload.op, 0)
        + prod(workload.output_shape)
        + n_params(workload)
    )
    return elements * _BYTES[workload.dtype]


def total_macs(workloads: Iterable[Workload]) -> int:
    """Return the multiply-accumulates of a graph."""
    return sum(macs(workload) for workload in workloads)


def total_params(workloads: Iterable[Workload]) -> int:
    """Return the parameters of a graph."""
    return sum(n_params(workload) for workload in workloads)


def total_bytes_moved(workloads: Iterable[Workload]) -> int:
    """Return the bytes a graph moves when nothing stays in cache."""
    return sum(bytes_moved(workload) for workload in workloads)


def peak_activation_bytes(workloads: Iterable[Workload]) -> int:
    """Return the largest sum of an operator's input and output activations, in bytes.

    An estimate of peak RAM: residual branches that wait for their addition are
    not counted, so the true peak can be higher.
    """
    return max(
        ((prod(w.input_shape) + prod(w.output_shape)) * _BYTES[w.dtype] for w in workloads),
        default=0,
    )
