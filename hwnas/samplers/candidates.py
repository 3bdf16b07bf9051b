"""Candidates with all that is known of them before they are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwnas.samplers.candidate_costs import CandidateCosts, CostFunction
from hwnas.samplers.grid import Grid, Rows, row_keys

Array = NDArray[np.float64]
Canonicalize = Callable[[Rows], Rows]
Encode = Callable[[Rows], Sequence[Array]]


@dataclass(frozen=True)
class Candidates:
    """n candidates.

    Args:
        rows: Shape ``(n, d)``: positions of their choices, canonical.
        features: Groups of what their objectives may depend on, each of shape ``(n, f)``.
        costs: What is predicted of them.
    """

    rows: Rows
    features: tuple[Array, ...]
    costs: CandidateCosts

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Candidates:
        return Candidates(
            self.rows[index],
            tuple(part[index] for part in self.features),
            CandidateCosts(
                self.costs.values[index], self.costs.log_stds[index], self.costs.violation[index]
            ),
        )

    def with_features(self, group: Array) -> Candidates:
        """Return them with another group of features."""
        return replace(self, features=(*self.features, group))


class CandidateSpace:
    """What makes candidates of rows of a grid.

    Args:
        grid: All that can be asked for.
        n_objectives: Of the study.
        costs: Predicts them, where there is something to predict.
        canonicalize: Rows to the rows that stand for them.
        encode: Canonical rows to groups of features; by default one, see `Grid.features`.
    """

    def __init__(
        self,
        grid: Grid,
        n_objectives: int,
        costs: CostFunction | None,
        canonicalize: Canonicalize,
        encode: Encode | None,
    ) -> None:
        self.grid = grid
        self._n_objectives = n_objectives
        self._costs = costs
        self._canonicalize = canonicalize
        self._encode = encode

    def canonical(self, rows: Rows) -> Rows:
        """Return the rows that stand for rows, shape ``(n, d)``."""
        return self._canonicalize(rows) if len(rows) else rows

    def distinct(self, rows: Rows) -> Rows:
        """Return canonical rows, each once, in the order of the first."""
        canonical = self.canonical(rows)
        first: dict[bytes, int] = {}
        for place, key in enumerate(row_keys(canonical)):
            first.setdefault(key, place)
        return canonical[list(first.values())]

    def candidates(self, rows: Rows) -> Candidates:
        """Return candidates of canonical rows."""
        costs = self.costs(rows)
        encoded = self.grid.features(rows)[None] if self._encode is None else self._encode(rows)
        known = ~np.isnan(costs.values)
        # of all candidates or of none
        columns = np.flatnonzero(known.any(axis=0))
        groups = [np.asarray(part, dtype=np.float64) for part in encoded]
        if len(columns):
            groups.append(np.log(costs.values[:, columns]))
        return Candidates(rows, tuple(groups), costs)

    def costs(self, rows: Rows) -> CandidateCosts:
        """Return what is predicted of canonical rows."""
        if self._costs is not None:
            return self._costs(rows)
        unknown = np.full((len(rows), self._n_objectives), np.nan)
        return CandidateCosts(unknown, unknown, np.zeros(len(rows)))
