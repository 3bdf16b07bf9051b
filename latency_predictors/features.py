"""Features of graphs as arrays: what a cost can depend on, additive over operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self, TypeAlias

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

Kind: TypeAlias = tuple[str, tuple[int, int], str]
"""What makes operators comparable: operator, kernel height and width, data type."""

PER_KIND = ("calls", "macs", "bytes", "params")
"""Additive features of each kind of operator, in column order."""


@dataclass(frozen=True)
class GraphFeatures:
    """Features of n graphs.

    Args:
        kinds: The k kinds of operator that have columns.
        sums: Shape ``(n, k, 4)``: `PER_KIND`, summed over the operators of a kind.
        peak_bytes: Shape ``(n,)``: peak of the activations.
    """

    kinds: tuple[Kind, ...]
    sums: NDArray[np.float64]
    peak_bytes: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.peak_bytes)

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> GraphFeatures:
        return GraphFeatures(self.kinds, self.sums[rows], self.peak_bytes[rows])

    def aligned(self, known: Sequence[Kind]) -> tuple[Self, NDArray[np.bool_]]:
        """Return the features with columns of ``known``, and which graphs hold other kinds.

        A kernel size that was never measured is counted as the measured one of the same
        operator and data type that is nearest in area: an extrapolation.

        Args:
            known: Kinds that were measured.

        Returns:
            The features, and shape ``(n,)``: whether a graph holds a kind not in ``known``.

        Raises:
            UnknownWorkloadError: If a graph holds an operator, or a data type of one, of which
                no kernel size is known.
        """
        known = tuple(known)
        if self.kinds == known:
            return self, np.zeros(len(self), dtype=np.bool_)
        column = {kind: i for i, kind in enumerate(known)}
        sums = np.zeros((len(self), len(known), len(PER_KIND)))
        strange = np.zeros(len(self), dtype=np.bool_)
        for own, kind in enumerate(self.kinds):
            holds = self.sums[:, own, 0] > 0
            if not holds.any():
                continue
            if kind not in column:
                strange |= holds
            sums[:, column.get(kind, _nearest(kind, known))] += self.sums[:, own]
        return type(self)(known, sums, self.peak_bytes), strange

    def shape_features(self) -> NDArray[np.float64]:
        """Describe each graph by numbers of bounded scale, for distances between graphs.

        Returns:
            Shape ``(n, 4 + 3 k)``: log MACs, log bytes, log peak activation bytes, log calls,
            then per kind its share of MACs, its log calls and its log bytes.
        """
        calls, op_macs, op_bytes = (self.sums[..., i] for i in range(3))
        total = op_macs.sum(axis=1)
        columns = [
            np.log1p(total),
            np.log1p(op_bytes.sum(axis=1)),
            np.log1p(self.peak_bytes),
            np.log1p(calls.sum(axis=1)),
        ]
        share = op_macs / np.maximum(total, 1.0)[:, None]
        return np.column_stack([*columns, share, np.log1p(calls), np.log1p(op_bytes)])


def graph_features(graphs: Sequence[Graph]) -> GraphFeatures:
    """Return the features of graphs; columns are the kinds of operator in them, sorted.

    Raises:
        UnknownWorkloadError: For an operator whose multiply-accumulates are not defined.
    """
    kinds = tuple(sorted({kind_of(workload) for graph in graphs for workload in graph}))
    column = {kind: i for i, kind in enumerate(kinds)}
    sums = np.zeros((len(graphs), len(kinds), len(PER_KIND)))
    for row, graph in enumerate(graphs):
        for workload, times in Counter(graph).items():
            sums[row, column[kind_of(workload)]] += times * _workload_features(workload)
    return GraphFeatures(kinds, sums, peak_activations(graphs))


def kind_of(workload: Workload) -> Kind:
    """Return the kind of operator a workload is."""
    return workload.op, workload.kernel, workload.dtype


@lru_cache(maxsize=100_000)
def _workload_features(workload: Workload) -> NDArray[np.float64]:
    try:
        sums = (1, macs(workload), bytes_moved(workload), n_params(workload))
    except LookupError as error:
        raise UnknownWorkloadError(error.args[0]) from None
    return np.array(sums, dtype=np.float64)


def _nearest(kind: Kind, known: Sequence[Kind]) -> int:
    op, kernel, dtype = kind
    same = [i for i, other in enumerate(known) if (other[0], other[2]) == (op, dtype)]
    if not same:
        names = ", ".join(sorted({f"{other[0]} ({other[2]})" for other in known}))
        raise UnknownWorkloadError(
            f"operator {op!r} ({dtype}) was never measured; calibrated are {names}. "
            "Calibrate on a space that contains it."
        )
    area = kernel[0] * kernel[1]
    return min(same, key=lambda i: abs(np.log(known[i][1][0] * known[i][1][1] / area)))


def graph_macs(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Return the multiply-accumulates of each graph, shape ``(n,)``."""
    return np.array([total_macs(graph) for graph in graphs], dtype=np.float64)


def peak_activations(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Return the analytic peak activation bytes of each graph, shape ``(n,)``."""
    return np.array([peak_activation_bytes(graph) for graph in graphs], dtype=np.float64)
