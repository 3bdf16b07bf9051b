"""Features of a graph: what a cost can depend on, additive over its operators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import Graph, UnknownWorkloadError
from search_spaces import (
    Workload,
    bytes_moved,
    macs,
    n_params,
    peak_activation_bytes,
    total_macs,
)

PER_OPERATOR = ("calls", "macs", "bytes", "params")
"""Additive features of each operator type, in column order."""


@lru_cache(maxsize=100_000)
def _workload_features(workload: Workload) -> tuple[float, float, float, float]:
    return (1.0, float(macs(workload)), float(bytes_moved(workload)), float(n_params(workload)))


def operators(graphs: Sequence[Graph]) -> tuple[str, ...]:
    """Return the sorted operator types that occur in ``graphs``."""
    return tuple(sorted({workload.op for graph in graphs for workload in graph}))


def additive_features(graphs: Sequence[Graph], known: Sequence[str]) -> NDArray[np.float64]:
    """Sum `PER_OPERATOR` features over the operators of each graph.

    Args:
        graphs: n graphs.
        known: The p operator types that have columns.

    Returns:
        Array of shape ``(n, p, 4)``: graph, operator type, `PER_OPERATOR`.

    Raises:
        UnknownWorkloadError: If a graph holds an operator not in ``known``.
    """
    column = {op: i for i, op in enumerate(known)}
    out = np.zeros((len(graphs), len(known), len(PER_OPERATOR)))
    for row, graph in enumerate(graphs):
        for workload in graph:
            if workload.op not in column:
                raise UnknownWorkloadError(
                    f"operator {workload.op!r} was never measured; calibrated are "
                    f"{', '.join(known)}. Calibrate on a space that contains it."
                )
            out[row, column[workload.op]] += _workload_features(workload)
    return out


def shape_features(graphs: Sequence[Graph], known: Sequence[str]) -> NDArray[np.float64]:
    """Describe each graph by bounded-scale numbers, for the learned residual.

    Args:
        graphs: n graphs.
        known: The p operator types, as in `additive_features`.

    Returns:
        Shape ``(n, 4 + 2 p)``: log MACs, log bytes, log peak activation bytes,
        calls, then per operator its share of MACs and its log calls.
    """
    additive = additive_features(graphs, known)
    calls, op_macs, op_bytes = additive[..., 0], additive[..., 1], additive[..., 2]
    total = op_macs.sum(axis=1)
    peak = np.array([peak_activation_bytes(graph) for graph in graphs], dtype=np.float64)
    columns = [
        np.log1p(total),
        np.log1p(op_bytes.sum(axis=1)),
        np.log1p(peak),
        np.log1p(calls.sum(axis=1)),
    ]
    share = op_macs / np.maximum(total, 1.0)[:, None]
    return np.column_stack([*columns, share, np.log1p(calls)])


def graph_macs(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Return the multiply-accumulates of each graph, shape ``(n,)``."""
    return np.array([total_macs(graph) for graph in graphs], dtype=np.float64)


def peak_activations(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Return the analytic peak activation bytes of each graph, shape ``(n,)``."""
    return np.array([peak_activation_bytes(graph) for graph in graphs], dtype=np.float64)
