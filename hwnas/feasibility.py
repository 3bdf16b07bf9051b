"""Find architectures that meet hard limits, however few of a space do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.level_search import Array, Encodings, LevelSearch, Limits, Violations
from hwnas.objectives import Constraint
from search_spaces import Architecture, SearchSpace
from search_spaces.encoding import decode, sample_encodings

# spaces of no more encodings are examined whole
_EVERYTHING = 20_000
_SAMPLED = 2000
# moves of the whole population in a row that find nothing new before the search ends
_PATIENCE = 10


@dataclass(frozen=True)
class FeasiblePool:
    """Architectures predicted to meet every limit on costs.

    Args:
        architectures: Distinct ones, spread over all that meet the limits as a random sample
            would be; the first ``n_sampled`` are those of one, in its order.
        n_sampled: How many were simply sampled.
        share: Which share of the space's encodings meets the limits: counted in a small
            space, estimated otherwise, and a rare one to a factor of about 2 only; at least
            so large where the levels led elsewhere.
        n_examined: Predictions it took.
    """

    architectures: tuple[Architecture, ...]
    n_sampled: int
    share: float
    n_examined: int

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        percent = 100 * self.share
        # a rare share is known to a factor only
        shown = f"{percent:.0f}" if percent >= 9.5 else f"{percent:.1g}"
        return (
            f"About {shown} % of the space is predicted to meet the limits; "
            f"{len(self.architectures)} such architectures found among {self.n_examined:,}"
        )


def find_feasible(
    space: SearchSpace,
    violations: Violations,
    constraints: Sequence[Constraint],
    n: int,
    rng: np.random.Generator,
) -> FeasiblePool:
    """Find up to ``n`` architectures that meet every limit, spread over all that do.

    A random sample comes first. Where too few of it meet the limits, `LevelSearch` finds
    more, in tens of thousands of predictions where one in a million does.

    Args:
        space: Where to search.
        violations: Of the k limits by candidates, such as `CandidateCostModel.violations`.
        constraints: The k limits, for the message where they cannot be met.
        n: How many; fewer are returned where there are fewer.
        rng: Randomness.

    Raises:
        UserError: If none was found; says which limit binds and what can be reached.
    """
    limits = Limits(violations)
    sizes = np.array([len(values) for values in space.dimensions.values()])
    is_small = prod(sizes.tolist()) <= _EVERYTHING
    rows = rng.permutation(_all(sizes)) if is_small else sample_encodings(space, _SAMPLED, rng)
    worst = limits.worst(rows)
    share = float(np.mean(worst <= 0))
    pool = _Pool(space, n)
    pool.add(rows[worst <= 0])
    n_sampled = len(pool.found)
    search = LevelSearch(limits, sizes, rng)
    if n_sampled < n and not is_small:
        members, share = search.descend(rows, worst)
        _fill(pool, search, members)
    if not pool.found:
        nearest, nearest_rows = limits.nearest(sizes)
        if np.any(nearest[-1] > 0):
            raise UserError(_why(constraints, nearest, limits.examined))
        # the levels led elsewhere
        _fill(pool, search, nearest_rows[-1:])
        share = len(pool.found) / prod(sizes.tolist())
    return FeasiblePool(tuple(pool.found), n_sampled, share, limits.examined)


def _fill(pool: _Pool, search: LevelSearch, members: Encodings) -> None:
    if not len(members):
        return
    pool.add(members)
    idle = 0
    for population in search.explore(members):
        if pool.is_full or idle == _PATIENCE:
            return
        idle = 0 if pool.add(population) else idle + 1


class _Pool:
    """Distinct architectures in the order they were found, up to n of them."""

    def __init__(self, space: SearchSpace, n: int) -> None:
        self._space, self._n = space, n
        self.found: dict[Architecture, None] = {}

    @property
    def is_full(self) -> bool:
        return len(self.found) >= self._n

    def add(self, rows: Encodings) -> bool:
        """Add architectures; return whether any was new."""
        before = len(self.found)
        for arch in decode(self._space, rows):
            if self.is_full:
                break
            self.found.setdefault(arch)
        return len(self.found) > before


def _all(sizes: NDArray[np.intp]) -> Encodings:
    """Return every encoding of a space."""
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes.tolist()), axis=1)


def _why(constraints: Sequence[Constraint], nearest: Array, examined: int) -> str:
    """Say which limits cannot be met.

    Args:
        constraints: The k limits.
        nearest: Shape ``(k + 1, k)``: violations, see `Limits.nearest`.
        examined: Architectures looked at.
    """
    reasons = []
    for row, constraint in enumerate(constraints):
        if nearest[row, row] > 0:
            best = constraint.value_at(float(nearest[row, row]))
            found = (
                f"the best of {examined:,} architectures examined is sure of "
                f"{constraint.shown(best)} only"
                if constraint.is_minimum
                else f"the smallest of {examined:,} architectures examined needs up to "
                f"{constraint.shown(best)}, {constraint.shown(best - constraint.bound)} over"
            )
            reasons.append(
                f"{constraint.section}.{constraint.name}: {constraint.shown(constraint.bound)} "
                f"is out of reach; {found}"
            )
    if not reasons:
        trade_off = " and ".join(
            f"{c.section}.{c.name} {c.shown(c.value_at(float(violation)))} "
            f"instead of {c.shown(c.bound)}"
            for c, violation in zip(constraints, nearest[-1], strict=True)
            if violation > 0
        )
        reasons.append(
            f"constraints: each limit can be met, but none of {examined:,} architectures "
            f"examined meets all of them; the nearest needs {trade_off}"
        )
    return f"{'; '.join(reasons)}. Relax the limit or allow other choices in space.choices."
