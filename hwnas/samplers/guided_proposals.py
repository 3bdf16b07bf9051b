"""Which candidates to evaluate next, given what was evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.samplers.candidates import Candidates, CandidateSpace
from hwnas.samplers.evolution import evolve
from hwnas.samplers.grid import Rows, row_keys
from hwnas.samplers.loss_scale import LossScale
from hwnas.samplers.outlook import Evaluations, Outlook

Array = NDArray[np.float64]
Refine = Callable[[Rows], Array]

# evaluations before anything is learned from them
START = 20

_LARGEST_ENUMERATED = 50_000
_SAMPLED_FOR_SCALE = 1000
_SHORT_LIST = 200
# of a batch: choosing takes as long as the square of the list, and the end of it gains little
_CANDIDATES_PER_CHOICE, _LARGEST_SURPLUS = 4, 600
_ANCESTORS = 100


@dataclass(frozen=True)
class History:
    """What is known of trials, at some moment.

    Args:
        rows: Shape ``(k, d)``: canonical rows that were evaluated, each once.
        values: Shape ``(k, m)``.
        others: Shape ``(p, m)``: what they can have, too, in place of these values.
        others_of: Shape ``(p,)``: positions of the rows that these are of.
        is_feasible: Shape ``(k,)``: whether every limit was met.
        pending: Shape ``(p, d)``: rows whose evaluation has not ended.
        taken: Keys of the rows of all trials, these and others.
    """

    rows: Rows
    values: Array
    others: Array
    others_of: NDArray[np.intp]
    is_feasible: NDArray[np.bool_]
    pending: Rows
    taken: frozenset[bytes]


class GuidedProposals:
    """Proposes candidates by the hypervolume that they are expected to add.

    Args:
        space: Of the candidates.
        signs: Shape ``(m,)``: 1 for an objective that is minimized, -1 otherwise.
        noise_std: Shape ``(m,)``: noise of the objectives, in their units; NaN where it is not
            known, and what features do not tell is taken for it.
        scale: Of the losses; spans what is observed and predicted where ``None``.
        refine: Features, shape ``(n, f)``, that are too costly to have of every candidate.
    """

    def __init__(
        self,
        space: CandidateSpace,
        signs: Array,
        noise_std: Array,
        scale: LossScale | None,
        refine: Refine | None,
    ) -> None:
        self._space = space
        self._signs = signs
        self._noise_std = noise_std
        self._scale = scale
        self._refine = None if refine is None else _Remembered(refine)
        self._all: Rows | None = None

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Rows:
        """Return rows to evaluate, the most promising first.

        Args:
            history: What is known.
            n: How many are chosen to complement each other; as many follow to fall back on.
            rng: Source of randomness.

        Returns:
            Shape ``(<= 2 n, d)``: canonical rows that no trial has. Those that exceed a limit
            least, where none is found that meets them all; none where all are taken.
        """
        if len(history.rows) < START:
            return self._spread(history, n, rng)
        k = len(history.rows)
        known = self._space.candidates(np.concatenate([history.rows, history.pending]))
        evaluations = Evaluations(
            known[np.arange(k)],
            history.values,
            history.others,
            history.others_of,
            history.is_feasible,
            known[np.arange(k, len(known))],
        )
        free = self._pool(history.taken, rng) if self._is_enumerable else None
        scale = self._scale or self._observed_scale(evaluations, free, rng)
        outlook = Outlook(evaluations, scale, self._noise_std)
        if free is None:
            free = self._bred(outlook, evaluations, history.taken, rng)
        if not len(free):
            return free.rows
        listed = max(_SHORT_LIST, min(_CANDIDATES_PER_CHOICE * n, n + _LARGEST_SURPLUS))
        short = free[np.argsort(-outlook.gains(free), kind="stable")[:listed]]
        if self._refine is not None:
            refined = Outlook(evaluations.with_features(self._refine), scale, self._noise_std)
            if refined.quality > outlook.quality:
                outlook, short = refined, short.with_features(self._refine(short.rows))
        chosen = outlook.batch(short, n)
        others = np.setdiff1d(np.arange(len(short)), chosen)
        return short.rows[[*chosen, *others[:n].tolist()]]

    def any_row(self, taken: frozenset[bytes], rng: np.random.Generator) -> Rows:
        """Return a random row that is not taken, or any if there is no such, shape ``(d,)``."""
        pool = self._pool(taken, rng).rows
        rows = pool if len(pool) else self._space.canonical(self._space.grid.sample(1, rng))
        return np.asarray(rows[int(rng.integers(len(rows)))])

    @property
    def _is_enumerable(self) -> bool:
        return self._space.grid.n_points <= _LARGEST_ENUMERATED

    def _pool(self, taken: frozenset[bytes], rng: np.random.Generator) -> Candidates:
        """Return candidates that no trial has: every one of a small space, or random ones."""
        if self._is_enumerable:
            if self._all is None:
                self._all = self._space.distinct(self._space.grid.all_rows())
            rows = self._all
            rows = rows[[key not in taken for key in row_keys(rows)]]
        else:
            none = np.empty((0, len(self._space.grid.sizes)), dtype=np.intp)
            rows, _ = evolve(self._space, self._merit, none, taken, rng)
        return _feasible(self._space.candidates(rows))

    def _observed_scale(
        self, evaluations: Evaluations, free: Candidates | None, rng: np.random.Generator
    ) -> LossScale:
        """Return a scale that spans what is observed, and predicted of others."""
        if free is None:
            sampled = self._space.grid.sample(_SAMPLED_FOR_SCALE, rng)
            free = self._space.candidates(self._space.canonical(sampled))
        predicted = np.concatenate([evaluations.candidates.costs.values, free.costs.values])
        return LossScale.of_values(evaluations.values, predicted, self._signs)

    def _bred(
        self,
        outlook: Outlook,
        evaluations: Evaluations,
        taken: frozenset[bytes],
        rng: np.random.Generator,
    ) -> Candidates:
        """Return candidates evolved towards what adds to the hypervolume."""

        def fitness(rows: Rows) -> Array:
            candidates = self._space.candidates(rows)
            merit = np.minimum(-candidates.costs.violation, 0.0)
            return np.where(candidates.costs.is_feasible, outlook.gains(candidates), merit)

        ancestors = evaluations.candidates.rows[outlook.best(_ANCESTORS)]
        rows, _ = evolve(self._space, fitness, ancestors, taken, rng)
        return _feasible(self._space.candidates(rows))

    def _merit(self, rows: Rows) -> Array:
        """Return 0 for rows that meet every limit, less for others."""
        return np.minimum(-self._space.costs(rows).violation, 0.0)

    def _spread(self, history: History, n: int, rng: np.random.Generator) -> Rows:
        """Return rows spread over the predicted costs, to begin with."""
        pool = self._pool(history.taken, rng)
        if not len(pool):
            return pool.rows
        pool = pool[rng.permutation(len(pool))]
        known = ~np.isnan(pool.costs.values).any(axis=0)
        if known.any():
            logs = self._signs[known] * np.log(pool.costs.values[:, known])
            spans = np.ptp(logs, axis=0)
            cost = (logs / np.where(spans > 0, spans, 1.0)).sum(axis=1)
            pool = pool[np.argsort(cost, kind="stable")]
        # trials of a start that is not finished share one stratification
        strata = np.array_split(np.arange(len(pool)), max(START, 2 * n))
        drawn = [int(rng.choice(stratum)) for stratum in strata if len(stratum)]
        return pool.rows[rng.permutation(drawn)[: 2 * n].astype(np.intp)]


class _Remembered:
    """Features of rows, computed once for each."""

    def __init__(self, refine: Refine) -> None:
        self._refine = refine
        self._known: dict[bytes, Array] = {}

    def __call__(self, rows: Rows) -> Array:
        keys = row_keys(rows)
        new = [i for i, key in enumerate(keys) if key not in self._known]
        if new or not self._known:
            found = np.asarray(self._refine(rows[new]), dtype=np.float64)
            self._known.update(zip((keys[i] for i in new), found, strict=True))
        width = len(next(iter(self._known.values())))
        return np.array([self._known[key] for key in keys]).reshape(len(rows), width)


def _feasible(candidates: Candidates) -> Candidates:
    """Return those that meet every limit, or the least violating where none does."""
    feasible = candidates.costs.is_feasible
    if feasible.any() or not len(candidates):
        return candidates[feasible]
    return candidates[np.argsort(candidates.costs.violation, kind="stable")[:_SHORT_LIST]]
