"""Non-domination, hypervolume and the choice of one member of a front."""

from __future__ import annotations

from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

from hwnas.objectives import Objective


@dataclass(frozen=True)
class ObjectiveScale:
    """Maps objective values to losses in which 0 is ideal and 1 the reference.

    A fraction maps linearly, all else by its logarithm: a saving of 10 % counts the
    same on a small net and on a large one.

    Args:
        objectives: The m objectives.
        ideal: Best reachable value of each, length m.
        reference: Worst value that still counts, length m.
    """

    objectives: tuple[Objective, ...]
    ideal: tuple[float, ...]
    reference: tuple[float, ...]

    def losses(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return losses of the same shape ``(n, m)`` as ``values``; all minimized."""
        columns = []
        for column, objective, ideal, reference in zip(
            np.asarray(values, dtype=np.float64).T,
            self.objectives,
            self.ideal,
            self.reference,
            strict=True,
        ):
            if objective.unit == "1":
                columns.append((ideal - column) / (ideal - reference))
            else:
                # where no architecture differs in a cost, its span is 0 and any unit will do
                span = np.log(reference / ideal) or (
                    -1.0 if objective.direction == "maximize" else 1.0
                )
                columns.append(np.log(column / ideal) / span)
        return np.stack(columns, axis=1)

    def hypervolume(self, values: NDArray[np.float64]) -> float:
        """Return the share of the box between ideal and reference that is dominated.

        Args:
            values: Shape ``(n, m)``, in the objectives' units.

        References:
            Zitzler & Thiele (1999), Multiobjective evolutionary algorithms,
            Sec. III-B. doi:10.1109/4235.797969
        """
        if len(values) == 0:
            return 0.0
        losses = np.maximum(self.losses(values), 0.0)
        inside = losses[np.all(losses < 1, axis=1)]
        if len(inside) == 0:
            return 0.0
        return float(moocore.hypervolume(inside, ref=np.ones(len(self.objectives))))


def is_non_dominated(losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the rows of ``losses`` that no other row dominates.

    Row ``a`` dominates ``b`` if ``a <= b`` in every column and ``a < b`` in at
    least one; equal rows are all kept.

    Args:
        losses: Shape ``(n, m)``: n candidates, m objectives, all minimized.

    Returns:
        Boolean array of shape ``(n,)``.

    Raises:
        ValueError: If ``losses`` is not 2-D or holds a NaN.

    References:
        Deb et al. (2002), NSGA-II, Sec. III-A. doi:10.1109/4235.996017
    """
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 2 or np.isnan(losses).any():
        raise ValueError(f"losses must be 2-D without NaN. Got shape {losses.shape}.")
    if len(losses) == 0:
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(moocore.is_nondominated(losses, keep_weakly=True), dtype=np.bool_)


def knee(losses: NDArray[np.float64], allowed: NDArray[np.bool_] | None = None) -> int:
    """Return the front member nearest the ideal point, each objective scaled to [0, 1].

    Args:
        losses: Shape ``(n, m)``, a front, n >= 1, all minimized. Each column is
            rescaled to its range on the front; a constant column counts nothing.
        allowed: Shape ``(n,)``: which members may be returned, at least one; all
            of them where ``None``.

    References:
        Branke et al. (2004), Finding knees in multi-objective optimization,
        Sec. 2. doi:10.1007/978-3-540-30217-9_73
    """
    low, spread = losses.min(axis=0), np.ptp(losses, axis=0)
    scaled = (losses - low) / np.where(spread > 0, spread, 1.0)
    distance = np.linalg.norm(scaled, axis=1)
    return int(np.argmin(distance if allowed is None else np.where(allowed, distance, np.inf)))


def spread_members(losses: NDArray[np.float64], count: int) -> list[int]:
    """Choose ``count`` members of a front: knee, best per objective, then by contribution.

    Args:
        losses: Shape ``(n, m)``, a front scaled so that 1 is the reference.
        count: How many; all where the front is smaller.

    Returns:
        Distinct row indices, the knee first.
    """
    order = [knee(losses), *(int(i) for i in np.argmin(losses, axis=0))]
    contribution = moocore.hv_contributions(
        np.clip(losses, 0, 1), ref=np.full(losses.shape[1], 1.1)
    )
    order += [int(i) for i in np.argsort(-np.asarray(contribution), kind="stable")]
    return list(dict.fromkeys(order))[:count]
