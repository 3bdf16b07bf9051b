"""Slices of measured tables: an accuracy and some costs of NAS-Bench-201's cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import moocore
import numpy as np
from foreign_spaces import one_hot
from measured_tables import Table, find_tables, observed
from numpy.typing import NDArray

from hwnas.samplers.candidate_costs import CandidateCosts
from latency_predictors.prior_residual import PriorResidualPredictor

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

CELLS = 15625
_PATHS = ((0, 2, 5), (0, 4), (1, 5), (3,))
_KINDS = (1, 2, 3, 4)
_FROM_INPUT, _TO_OUTPUT = [0, 1, 3], [3, 4, 5]

_CALIBRATED_ON = 100


@dataclass(frozen=True)
class Cost:
    """One cost of the cells.

    Args:
        table: Of the measurements.
        index: Shape ``(t,)``: official index of each of the table's architectures.
    """

    table: Table
    index: Rows

    @property
    def values(self) -> Array:
        """By official index, SI units; NaN where there is none."""
        values = np.full(CELLS, np.nan)
        positive = self.table.values > 0
        values[self.index[positive]] = self.table.values[positive]
        return values


@dataclass(frozen=True)
class Slice:
    """What is searched.

    Args:
        name: Of the cost that comes first, and how many there are.
        ops: Shape ``(CELLS, 6)``.
        live_ops: Likewise, edges that nothing flows through being 0.
        values: Shape ``(CELLS, m)``: accuracy first, then costs in SI units; NaN in a row
            that is not searched: disconnected, or not measured.
        costs: Of the columns from the second on.
    """

    name: str
    ops: NDArray[np.int8]
    live_ops: NDArray[np.int8]
    values: Array
    costs: tuple[Cost, ...]

    @property
    def searched(self) -> Rows:
        """Official indices of what is searched."""
        return np.flatnonzero(~np.isnan(self.values[:, 0]))

    def index(self, rows: Rows) -> Rows:
        """Return official indices of rows of operators, shape ``(n,)``."""
        places = 5 ** np.arange(6)
        order = np.empty(CELLS, dtype=np.intp)
        order[self.ops.astype(np.intp) @ places] = np.arange(CELLS)
        return np.asarray(order[rows @ places])

    def losses(self) -> Array:
        """Return losses, shape ``(CELLS, m)``: from the best to the worst, logarithms of costs."""
        oriented = np.column_stack([-self.values[:, 0], np.log(self.values[:, 1:])])
        best, worst = np.nanmin(oriented, axis=0), np.nanmax(oriented, axis=0)
        return np.asarray((oriented - best) / (worst - best))


def load_slice(folder: Path, accuracy: str, costs: Sequence[str]) -> Slice:
    """Return a slice of the arrays of these names.

    Raises:
        SystemExit: If no file of the folder has one of them for this space.
    """
    with np.load(folder / "nb201_arch.npz") as cells:
        ops, live, connected = cells["ops"], cells["ops_live"], cells["connected"]
    found = tuple(_find_cost(folder, name) for name in costs)
    columns = [_find_accuracy(folder, accuracy), *(cost.values for cost in found)]
    values = np.stack(columns, axis=1)
    values[~connected | np.isnan(values).any(axis=1)] = np.nan
    name = f"{accuracy} {' '.join(costs)}"
    return Slice(name, ops, live, values, found)


def _find_accuracy(folder: Path, name: str) -> Array:
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            if name in arrays.files and len(arrays[name]) == CELLS:
                return np.asarray(arrays[name], dtype=np.float64)
    raise SystemExit(f"{folder}: no file has an array {name!r} of {CELLS} numbers")


def _find_cost(folder: Path, name: str) -> Cost:
    for table in find_tables(folder, name):
        if table.array != name:
            continue
        with np.load(table.path) as arrays:
            if "nb201_index" in arrays:
                return Cost(table, arrays["nb201_index"].astype(np.intp))
            if len(arrays[name]) == CELLS and "op_idx" not in arrays:
                return Cost(table, np.arange(CELLS))
    raise SystemExit(f"{folder}: no file has an array {name!r} of this space's cells")


class HypervolumeRatio:
    """Hypervolume over that of the exact front, below the worst value of each objective."""

    def __init__(self, of: Slice) -> None:
        self._losses = of.losses()
        self._exact = self._hypervolume(of.searched)

    def __call__(self, evaluated: Sequence[int]) -> float:
        """Return the ratio reached by the cells of these official indices."""
        return self._hypervolume(np.asarray(evaluated, dtype=np.intp)) / self._exact

    def _hypervolume(self, index: Rows) -> float:
        reference = np.ones(self._losses.shape[1])
        return float(moocore.hypervolume(self._losses[index], ref=reference))


class CalibratedCosts:
    """Costs predicted from measurements of a few cells; those are known.

    Args:
        of: The slice; of its costs nothing is read but those of the measured cells.
        seed: Draws these, without a look at their accuracy.
    """

    def __init__(self, of: Slice, seed: int) -> None:
        self._of = of
        self._violation = np.isnan(of.values[:, 0]).astype(np.float64)
        rng = np.random.default_rng([seed, 1])
        # of each group of cells that share one measurement, one
        distinct = of.costs[0].index[of.costs[0].table.rows]
        pool = of.searched[np.isin(of.searched, distinct)]
        measured = rng.choice(pool, _CALIBRATED_ON, replace=False)
        self._values = np.full(of.values.shape, np.nan)
        self._log_stds = self._values.copy()
        for column, cost in enumerate(of.costs, start=1):
            values, log_stds = _predictions(cost, measured)
            self._values[cost.index, column] = values
            self._log_stds[cost.index, column] = log_stds
        self._values[measured, 1:] = of.values[measured, 1:]
        self._log_stds[measured, 1:] = 0.0

    def __call__(self, rows: Rows) -> CandidateCosts:
        """Return what is known of rows of operators."""
        index = self._of.index(rows)
        return CandidateCosts(self._values[index], self._log_stds[index], self._violation[index])


def _predictions(cost: Cost, measured: Rows) -> tuple[Array, Array]:
    """Return predictions of every cell of a table, and standard deviations of their logarithms."""
    known = observed(cost.table)
    rows = np.flatnonzero(np.isin(cost.index, measured))
    predictor = PriorResidualPredictor(cost.table.metric)
    groups = [str(row) for row in rows]
    predictor.fit_observed(known[rows], cost.table.values[rows], groups)
    said = predictor.predict_observed(known)
    # a 90 % interval of a Gaussian is 3.29 standard deviations wide
    return said.mean, np.log(said.high / said.low) / 3.29


def encode(of: Slice, index: Rows) -> list[Array]:
    """Return features that an accuracy may depend on: operators, and how they are connected.

    Args:
        of: The slice.
        index: Official indices, shape ``(n,)``.

    References:
        Kadlecova et al. (2024), Surprisingly strong performance prediction with neural graph
        features (GRAF), Sec. 3: operator counts, path lengths and degrees by sets of
        operators. arXiv:2404.16551
    """
    ops = of.live_ops[index]
    return [one_hot(ops, range(5)), _graph_features(ops)]


def _graph_features(ops: NDArray[np.int8]) -> Array:
    features = [(ops == kind).sum(axis=1) for kind in _KINDS]
    for kinds in (c for size in _KINDS for c in combinations(_KINDS, size)):
        held = np.isin(ops, kinds)
        lengths = np.stack([len(p) * held[:, p].all(axis=1) for p in _PATHS], axis=1)
        features += [lengths.max(axis=1), np.where(lengths > 0, lengths, 4).min(axis=1)]
        features += [held[:, _FROM_INPUT].sum(axis=1), held[:, _TO_OUTPUT].sum(axis=1)]
    whole = np.stack([(ops[:, p] > 0).all(axis=1) for p in _PATHS], axis=1)
    for kinds in (*((kind,) for kind in _KINDS), (2, 3)):
        counts = np.stack([np.isin(ops[:, p], kinds).sum(axis=1) for p in _PATHS], axis=1)
        counts *= whole
        features += [counts.max(axis=1), counts.sum(axis=1)]
        features.append(np.where(whole, counts, 4).min(axis=1))
    return np.stack(features, axis=1).astype(np.float64)
