"""Losses that hypervolumes are taken of: 0 at the ideal, 1 at the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hwnas.pareto import ObjectiveScale

Array = NDArray[np.float64]

# how far beyond the worst value seen an unknown objective still counts, of the range seen
_MARGIN = 0.1


@dataclass(frozen=True)
class LossScale:
    """Maps objectives to losses, all minimized: linearly, or by their logarithm.

    Args:
        logarithmic: Shape ``(m,)``: which objectives count by their logarithm.
        ideal: Shape ``(m,)``: best value of each, where the loss is 0.
        reference: Shape ``(m,)``: worst value that counts, where the loss is 1.
        signs: Shape ``(m,)``: 1 for what is minimized, -1 for what is maximized.
    """

    logarithmic: NDArray[np.bool_]
    ideal: Array
    reference: Array
    signs: Array

    @classmethod
    def of_objectives(cls, scale: ObjectiveScale) -> Self:
        """Return the scale of a search's objectives."""
        return cls(
            np.array([objective.unit != "1" for objective in scale.objectives]),
            np.array(scale.ideal, dtype=np.float64),
            np.array(scale.reference, dtype=np.float64),
            np.array([1.0 if o.direction == "minimize" else -1.0 for o in scale.objectives]),
        )

    @classmethod
    def of_values(cls, observed: Array, predicted: Array, signs: Array) -> Self:
        """Span what was observed and what is predicted.

        Args:
            observed: Shape ``(n, m)``: values of evaluated candidates, n >= 1.
            predicted: Shape ``(c, m)``: of candidates; columns of NaN where nothing is known.
                The others count by their logarithm.
            signs: Shape ``(m,)``: 1 for what is minimized, -1 for what is maximized.
        """
        known = np.asarray(~np.isnan(predicted).any(axis=0))
        oriented = np.concatenate([observed, np.where(known, predicted, observed[:1])]) * signs
        best, worst = oriented.min(axis=0), oriented.max(axis=0)
        worst = np.where(known, worst, worst + _MARGIN * (worst - best))
        return cls(known, best * signs, worst * signs, signs)

    def losses(self, values: Array) -> Array:
        """Return losses of the same shape ``(n, m)`` as ``values``."""
        return np.asarray((self._transformed(values) - self._origin) * self.slopes)

    def losses_of_logs(self, column: int, logs: Array) -> Array:
        """Return losses of a logarithmic objective, given logarithms of its values."""
        return np.asarray((logs - self._origin[column]) * self.slopes[column])

    @property
    def slopes(self) -> Array:
        """Shape ``(m,)``: loss per unit of the value, or of its logarithm."""
        span = self._transformed(self.reference) - self._origin
        # where no candidate differs in an objective, any unit will do, but not any direction
        return np.asarray(1 / np.where(span == 0, self.signs, span))

    @property
    def _origin(self) -> Array:
        return self._transformed(self.ideal)

    def _transformed(self, values: Array) -> Array:
        safe = np.where(self.logarithmic, values, 1.0)
        return np.where(self.logarithmic, np.log(safe), values)
