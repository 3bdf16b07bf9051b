"""How much the hypervolume is expected to grow, in closed form."""

from __future__ import annotations

from copy import copy
from heapq import heapify, heappop, heappush

import moocore
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

# numbers held at once: they stay in the processor's cache
_NUMBERS_AT_ONCE = 2**16
# objectives up to which boxes are decomposed anew for every point, ...
_REBUILT = 3
# ... and up to which they are at all: that takes seconds for more, cutting boxes milliseconds
_DECOMPOSED = 4
# of a front of more objectives
_MOST_POINTS = 64


class ImprovableRegion:
    """What a front leaves undominated below a reference point, as disjoint boxes.

    Of more than four objectives the boxes of a long front would be tens of thousands: of it those
    points count that dominate most, together.

    Args:
        front: Shape ``(k, m)``: losses of the points that were reached, dominated ones or not,
            all minimized.
        reference: Shape ``(m,)``: only losses below it count.

    Attributes:
        lower: Shape ``(b, m)``: lower corners of the boxes; ``-inf`` where there is no bound.
        upper: Shape ``(b, m)``: upper corners.

    References:
        Lacour, Klamroth & Fonseca (2017), A box decomposition algorithm to compute the
        hypervolume indicator, Secs. 2.2 and 3. doi:10.1016/j.cor.2016.06.021
        Yang et al. (2019), Multi-objective Bayesian global optimization using expected
        hypervolume improvement gradient, Sec. 3 (boxes of the undominated region).
        doi:10.1016/j.swevo.2018.10.007
    """

    def __init__(self, front: Array, reference: Array) -> None:
        self._front, self._reference = front, reference
        inside = front[np.all(front < reference, axis=1)]
        if len(inside):
            inside = inside[moocore.is_nondominated(inside)]
        if len(reference) <= _DECOMPOSED:
            self.lower, self.upper = _decomposed(inside, reference)
        else:
            everything = np.full((1, len(reference)), -np.inf), reference[None, :]
            self.lower, self.upper = _cut(*everything, greatest(inside, reference, _MOST_POINTS))

    def with_reached(self, points: Array) -> ImprovableRegion:
        """Return what further points, shape ``(p, m)``, leave."""
        if len(self._reference) <= _REBUILT:
            return ImprovableRegion(np.concatenate([self._front, points]), self._reference)
        left = copy(self)
        left.lower, left.upper = _cut(self.lower, self.upper, points)
        return left

    def expected_improvement(self, means: Array, stds: Array) -> Array:
        """Return by how much n independent Gaussian points each enlarge the hypervolume.

        In a box the improvement is a product over the objectives, and so is its expectation:
        ``E[(u - max(l, y))+] = E[(u - y)+] - E[(l - y)+]``.

        Args:
            means: Shape ``(n, m)``: expected losses.
            stds: Shape ``(n, m)``: their standard deviations; 0 where a loss is known.

        Returns:
            Shape ``(n,)``.
        """
        gains = np.empty(len(means))
        step = max(_NUMBERS_AT_ONCE // max(len(self.lower), 1), 1)
        # boxes share their corners: every distinct one is evaluated once
        distinct = [
            np.unique(np.concatenate([low, high]), return_inverse=True)
            for low, high in zip(self.lower.T, self.upper.T, strict=True)
        ]
        for start in range(0, len(means), step):
            rows = slice(start, start + step)
            product = np.ones((len(means[rows]), len(self.lower)))
            for j, (corners, place) in enumerate(distinct):
                below = _expected_shortfall(corners, means[rows, j], stds[rows, j])
                low, high = np.split(place, 2)
                product *= below[:, high] - below[:, low]
            gains[rows] = product.sum(axis=1)
        return gains


def greatest(points: Array, reference: Array, n: int) -> Array:
    """Return n points of a front, or all, that together dominate much of what all do.

    Each in its turn is the one that adds most to those before it. What a point adds only
    lessens as others are chosen: so few are looked at again in each turn.

    Args:
        points: Shape ``(k, m)``, none dominated.
        reference: Shape ``(m,)``: hypervolumes are taken below it.
        n: How many.

    References:
        Nemhauser, Wolsey & Fisher (1978), An analysis of approximations for maximizing
        submodular set functions, Sec. 4: the part is at least 1 - 1/e of the most that n points
        can dominate. doi:10.1007/BF01588971
        Minoux (1978), Accelerated greedy algorithms for maximizing submodular set functions.
        doi:10.1007/BFb0006528
    """
    if len(points) <= n:
        return points
    chosen: list[int] = []
    reached = 0.0
    # what each was last known to add, the most first, and to how many
    heap = [(-np.prod(reference - point), 0, i) for i, point in enumerate(points)]
    heapify(heap)
    while len(chosen) < n:
        lost, beside, i = heappop(heap)
        if beside == len(chosen):
            chosen.append(i)
            reached -= lost
        else:
            together = moocore.hypervolume(points[[*chosen, i]], ref=reference)
            heappush(heap, (reached - together, len(chosen), i))
    return points[sorted(chosen)]


def _cut(lower: Array, upper: Array, points: Array) -> tuple[Array, Array]:
    """Return disjoint boxes of what points leave undominated of boxes."""
    # those that dominate much come first: what they take is not cut again
    for point in points[np.argsort(points.sum(axis=1), kind="stable")]:
        hit = np.all(point < upper, axis=1)
        lows, highs = [lower[~hit]], [upper[~hit]]
        low, high = lower[hit], upper[hit]
        for j, bound in enumerate(point):
            # below the point in this objective, above it in those before
            below = low[:, j] < bound
            lows.append(low[below])
            highs.append(np.where(np.arange(len(point)) == j, bound, high[below]))
            low = np.where(np.arange(len(point)) == j, np.maximum(low, bound), low)
        lower, upper = np.concatenate(lows), np.concatenate(highs)
    return lower, upper


def _decomposed(front: Array, reference: Array) -> tuple[Array, Array]:
    """Return the boxes that a front leaves, as few as possible."""
    bounds, _ = _upper_bounds(front, reference)
    # what lies below an upper bound is, seen from the other side, dominated by it
    boundless = np.full(len(reference), np.inf)
    corners, definers = _upper_bounds(-bounds, boundless)
    lower, upper = _boxes(corners, definers, boundless)
    return -upper, -lower


def _expected_shortfall(corners: Array, means: Array, stds: Array) -> Array:
    """Return ``E[(c - y)+]`` of each Gaussian y and corner c, shape ``(n, c)``."""
    finite = np.isfinite(corners)
    gaps = np.where(finite, corners, 0.0) - means[:, None]
    spread = np.maximum(stds, 1e-12)[:, None]
    z = gaps / spread
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    shortfall = gaps * ndtr(z) + spread * density
    return np.where(finite, shortfall, 0.0)


def _upper_bounds(points: Array, reference: Array) -> tuple[Array, Array]:
    """Return the local upper bounds of points, and the points that define them.

    Returns:
        Shape ``(u, m)``, and ``(u, m, m)``: for each bound and objective the defining point.
    """
    m = len(reference)
    bounds = reference[None, :].copy()
    # before there are points, bound j is defined by one at the reference in j, lowest elsewhere
    definers = np.full((1, m, m), -np.inf)
    definers[0, np.arange(m), np.arange(m)] = reference
    for point in points:
        hit = np.all(point < bounds, axis=1)
        if not hit.any():
            continue
        kept_bounds, kept_definers = [bounds[~hit]], [definers[~hit]]
        for j in range(m):
            others = np.delete(definers[hit][:, :, j], j, axis=1)
            splits = point[j] >= others.max(axis=1, initial=-np.inf)
            new_bounds, new_definers = bounds[hit][splits], definers[hit][splits]
            new_bounds[:, j] = point[j]
            new_definers[:, j] = point
            kept_bounds.append(new_bounds)
            kept_definers.append(new_definers)
        bounds, definers = np.concatenate(kept_bounds), np.concatenate(kept_definers)
    return bounds, definers


def _boxes(bounds: Array, definers: Array, reference: Array) -> tuple[Array, Array]:
    """Return corners of disjoint boxes that make up what the points of the bounds dominate."""
    lower, upper = np.empty_like(bounds), bounds.copy()
    upper[:, 0] = reference[0]
    lower[:, 0] = definers[:, 0, 0]
    for j in range(1, bounds.shape[1]):
        lower[:, j] = definers[:, :j, j].max(axis=1)
    filled = np.all(lower < upper, axis=1)
    return lower[filled], upper[filled]
