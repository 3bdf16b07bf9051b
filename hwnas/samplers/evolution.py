"""Candidates bred in memory, where a space is too large to look at every one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hwnas.samplers.candidates import CandidateSpace
from hwnas.samplers.grid import Rows, row_keys

Array = NDArray[np.float64]

_RANDOM = 2000
_CHILDREN = 1000
_GENERATIONS = 8
_PARENTS = 200
_KEPT = 2000
# of a child's parameters, on average, besides those it mixes from two parents
_MUTATIONS = 1.0


def evolve(
    space: CandidateSpace,
    fitness: Callable[[Rows], Array],
    ancestors: Rows,
    taken: frozenset[bytes],
    rng: np.random.Generator,
) -> tuple[Rows, Array]:
    """Return the fittest of some thousand candidates, evolved from random ones and ancestors.

    Args:
        space: Of the candidates.
        fitness: Of canonical rows, shape ``(n,)``; more is better.
        ancestors: Shape ``(a, d)``: rows near which fit ones are likely.
        taken: Keys of canonical rows that may breed but are not returned.
        rng: Source of randomness.

    Returns:
        Distinct canonical rows, the fittest first, and their fitness.
    """
    started = np.concatenate([ancestors, space.grid.sample(_RANDOM, rng)])
    rows = space.distinct(started)
    fit = fitness(rows)
    known = set(row_keys(rows))
    for _ in range(_GENERATIONS):
        order = np.argsort(-fit, kind="stable")[:_KEPT]
        rows, fit = rows[order], fit[order]
        # what was evaluated has no gain left, but is what others gained most beside
        parents = np.concatenate([rows[:_PARENTS], ancestors])
        children = space.distinct(_children(parents, space.grid.sizes, rng))
        new = [key not in known for key in row_keys(children)]
        children = children[np.array(new, dtype=np.bool_)]
        if not len(children):
            continue
        known.update(row_keys(children))
        rows = np.concatenate([rows, children])
        fit = np.concatenate([fit, fitness(children)])
    order = np.argsort(-fit, kind="stable")
    free = [i for i, key in zip(order, row_keys(rows[order]), strict=True) if key not in taken]
    return rows[free[:_KEPT]], fit[free[:_KEPT]]


def _children(parents: Rows, sizes: tuple[int, ...], rng: np.random.Generator) -> Rows:
    """Cross pairs of parents uniformly, and change a parameter or so of each child."""
    pairs = rng.integers(len(parents), size=(_CHILDREN, 2))
    d = len(sizes)
    # half of the children differ from one parent by mutation alone
    mixed = (rng.random((_CHILDREN, d)) < 0.5) & (rng.random((_CHILDREN, 1)) < 0.5)
    children = np.where(mixed, parents[pairs[:, 1]], parents[pairs[:, 0]])
    # one change at least, of a parameter drawn at random
    mutated = rng.random((_CHILDREN, d)) < _MUTATIONS / d
    mutated[np.arange(_CHILDREN), rng.integers(d, size=_CHILDREN)] = True
    drawn = rng.integers(sizes, size=(_CHILDREN, d))
    return np.where(mutated, drawn, children).astype(np.intp)
