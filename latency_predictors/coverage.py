"""Choose architectures that cover a search space, cheaply and reproducibly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from latency_predictors.features import GraphFeatures, graph_features
from search_spaces import Architecture, SearchSpace

_POOL_PER_PICK = 20
_MAX_DRAWS_PER_NEW = 200


def distinct_architectures(
    space: SearchSpace, n: int, rng: np.random.Generator
) -> Iterator[Architecture]:
    """Yield up to ``n`` distinct random architectures; fewer where the space is smaller."""
    seen: set[str] = set()
    misses = 0
    while len(seen) < n and misses < _MAX_DRAWS_PER_NEW:
        arch = space.sample(rng)
        if arch.arch_id in seen:
            misses += 1
            continue
        misses = 0
        seen.add(arch.arch_id)
        yield arch


def covering_architectures(
    space: SearchSpace, n: int, rng: np.random.Generator
) -> list[Architecture]:
    """Choose ``n`` architectures spread over the space's features, from a random pool."""
    return covering_subset(space, list(distinct_architectures(space, _POOL_PER_PICK * n, rng)), n)


def covering_subset(space: SearchSpace, pool: Sequence[Architecture], n: int) -> list[Architecture]:
    """Choose ``n`` architectures of ``pool`` spread over its features; all of a smaller pool."""
    if len(pool) <= n:
        return list(pool)
    features = graph_features([space.workloads(arch) for arch in pool])
    return [pool[i] for i in covering_rows(features, n)]


def covering_rows(features: GraphFeatures, n: int) -> list[int]:
    """Return the indices of ``n`` graphs spread over their features.

    Farthest-first traversal in standardized feature space, starting at the
    median: a 2-approximation of the smallest covering radius.

    References:
        Gonzalez (1985), Clustering to minimize the maximum intercluster
        distance, Theorem 2.2. doi:10.1016/0304-3975(85)90224-5
    """
    shape = features.shape_features()
    spread = shape.std(axis=0)
    points = (shape - shape.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return farthest_first(points, n)


def farthest_first(points: NDArray[np.float64], n: int) -> list[int]:
    """Return distinct indices of ``n`` rows, each the farthest from those before it.

    Args:
        points: Shape ``(m, d)`` with ``m >= n``.
        n: How many to choose; the first is the row nearest the median.
    """
    if n < 1:
        return []
    chosen = [int(np.argmin(((points - np.median(points, axis=0)) ** 2).sum(axis=1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < n:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        # so that rows equal to a chosen one are still to be had, but not that one again
        distance[chosen[-1]] = -1.0
        chosen.append(int(np.argmax(distance)))
    return chosen
