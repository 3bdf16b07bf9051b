"""Rare regions of a space by levels: relax limits until many meet them, tighten step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Encodings: TypeAlias = NDArray[np.intp]
Violations: TypeAlias = Callable[[Encodings], Array]
"""Relative violation of each of k limits by n candidates: shape ``(n, k)``, from ``(n, d)``."""

_CHAINS = 1000
# of a population that the next level keeps, and moves that each member is then offered
_KEPT = 0.1
_SWEEPS = 6
# choices changed beside the first one, on average: many small steps, few large ones
_MORE_CHANGES = (0.0, 0.0, 1.0, 3.0)
# levels in a row without anything better, and estimated number of encodings, at which the
# search ends: one that exists is not estimated as so few
_PATIENCE = 3
_LEAST_ENCODINGS = 1e-3


class Limits:
    """Judges candidates by the worst of their violations; remembers the best it saw.

    Args:
        violations: Of each limit by candidates.
    """

    def __init__(self, violations: Violations) -> None:
        self._violations = violations
        self._best: list[tuple[float, Encodings]] = []
        self.examined = 0

    def worst(self, rows: Encodings) -> Array:
        """Return the largest violation of any limit, shape ``(n,)``; 0 where there is none."""
        found = self._violations(rows)
        worst = found.max(axis=1) if found.shape[1] else np.zeros(len(rows))
        self.examined += len(rows)
        for column, values in enumerate((*found.T, worst)):
            lowest = int(np.argmin(values))
            best = (float(values[lowest]), rows[lowest].copy())
            if column == len(self._best):
                self._best.append(best)
            elif best[0] < self._best[column][0]:
                self._best[column] = best
        return worst

    def nearest(self, sizes: NDArray[np.intp]) -> tuple[Array, Encodings]:
        """Return the violations of what comes nearest to each limit, and to all of them.

        The best that was seen, improved by one choice or two as long as that helps.

        Args:
            sizes: Shape ``(d,)``: number of choices of each dimension.

        Returns:
            Shape ``(k + 1, k)``: a row per limit alone; the last one for all together. And what
            has them, shape ``(k + 1, d)``.
        """
        rows = [self._improved(column, sizes) for column in range(len(self._best))]
        # one by one: within a batch they may round differently
        return np.stack([self._violations(row[None])[0] for row in rows]), np.stack(rows)

    def _improved(self, column: int, sizes: NDArray[np.intp]) -> Encodings:
        value, row = self._best[column]
        while True:
            ones = _neighbours(row, sizes)
            self._look_at(ones)
            if self._best[column][0] >= value:
                for one in ones:
                    self._look_at(_neighbours(one, sizes))
            if self._best[column][0] >= value:
                return row
            value, row = self._best[column]

    def _look_at(self, rows: Encodings) -> None:
        if len(rows):
            self.worst(rows)


class LevelSearch:
    """Members of what meets limits, uniformly distributed, however rare.

    A population of which a tenth is kept at each level: those that violate the limits least.
    They are multiplied, and moved at random within what is no worse, by mutation of one or
    more choices and by exchange of choices between two members. Both moves are symmetric, so
    that what is uniformly distributed stays so, and no corner of what is feasible is
    preferred.

    Args:
        limits: What to meet.
        sizes: Shape ``(d,)``: number of choices of each dimension.
        rng: Randomness.

    References:
        Au & Beck (2001), Estimation of small failure probabilities in high dimensions by
        subset simulation, Sec. 3-5. doi:10.1016/S0266-8920(01)00019-4
        Liang & Wong (2001), Real-parameter evolutionary Monte Carlo, Sec. 2.2: mutation and
        crossover that leave a distribution as it is. doi:10.1198/016214501753168325
    """

    def __init__(self, limits: Limits, sizes: NDArray[np.intp], rng: np.random.Generator) -> None:
        self._limits, self._sizes, self._rng = limits, sizes, rng

    def descend(self, rows: Encodings, worst: Array) -> tuple[Encodings, float]:
        """Go down the levels until the limits themselves are met.

        Args:
            rows: Shape ``(n, d)``: a uniform sample of the space.
            worst: Shape ``(n,)``: their largest violations.

        Returns:
            Members that meet the limits, none where none was found, and which share of the
            space does: the product of the shares kept.
        """
        share, level, stuck = 1.0, np.inf, 0
        least = _LEAST_ENCODINGS * np.prod(1.0 / self._sizes)
        while level > 0:
            below = worst[worst < level]
            stuck = 0 if len(below) else stuck + 1
            if stuck > _PATIENCE or share < least:
                return rows[:0], 0.0
            if len(below):
                # where most are equally bad, the next better ones
                quantile = np.quantile(worst, _KEPT, method="inverted_cdf")
                level = max(0.0, min(quantile, below.max()))
            inside = np.flatnonzero(worst <= level)
            share *= len(inside) / len(worst)
            # each as often as any other, or once more
            chosen = np.resize(self._rng.permutation(inside), _CHAINS)
            rows, worst = rows[chosen], worst[chosen]
            for _ in range(_SWEEPS):
                rows, worst = self._swept(rows, worst, level)
        return rows, share

    def explore(self, rows: Encodings) -> Iterator[Encodings]:
        """Move members that meet the limits about, for ever; yield the population each time."""
        rows = np.resize(rows, (_CHAINS, rows.shape[1]))
        worst = np.zeros(_CHAINS)
        while True:
            rows, worst = self._swept(rows, worst, 0.0)
            yield rows

    def _swept(self, rows: Encodings, worst: Array, level: float) -> tuple[Encodings, Array]:
        """Offer an exchange to each pair and a mutation to each member; refuse the worse."""
        pairs = self._rng.permutation(len(rows))[: len(rows) // 2 * 2].reshape(2, -1)
        offered = self._exchanged(rows, pairs)
        found = self._limits.worst(offered)
        refused = pairs[:, np.any(found[pairs] > level, axis=0)].ravel()
        offered[refused], found[refused] = rows[refused], worst[refused]
        rows, worst = offered, found
        offered = self._mutated(rows)
        found = self._limits.worst(offered)
        refused = np.flatnonzero(found > level)
        offered[refused], found[refused] = rows[refused], worst[refused]
        return offered, found

    def _exchanged(self, rows: Encodings, pairs: NDArray[np.intp]) -> Encodings:
        """Return the rows after each pair exchanged some of its choices."""
        left, right = pairs
        shape = (len(left), rows.shape[1])
        chosen = self._rng.random(shape) < self._rng.uniform(0, 0.5, (len(left), 1))
        out = rows.copy()
        out[left] = np.where(chosen, rows[right], rows[left])
        out[right] = np.where(chosen, rows[left], rows[right])
        return out

    def _mutated(self, rows: Encodings) -> Encodings:
        """Return the rows after one choice of each changed, and a few others with it."""
        n, d = rows.shape
        changed = self._rng.random((n, d)) < self._rng.choice(_MORE_CHANGES, (n, 1)) / d
        changed[np.arange(n), self._rng.integers(d, size=n)] = True
        steps = self._rng.integers(1, np.maximum(self._sizes, 2), size=(n, d))
        return np.where(changed, (rows + steps) % self._sizes, rows)


def _neighbours(row: Encodings, sizes: NDArray[np.intp]) -> Encodings:
    """Return all encodings that differ from one in one choice."""
    out = []
    for column, size in enumerate(sizes.tolist()):
        for value in range(size):
            if value != row[column]:
                other = row.copy()
                other[column] = value
                out.append(other)
    return np.array(out, dtype=np.intp).reshape(-1, len(row))
