"""What is known of candidates before any of them is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CandidateCosts:
    """What is known of n candidates before any of them is trained, for m objectives.

    Args:
        values: Shape ``(n, m)``: predicted value of each objective in its own unit, positive;
            a column of NaN where nothing is known, as for accuracy. A prediction may be off by
            a factor that evaluations teach, as where exits decide how much of a network runs.
        log_stds: Shape ``(n, m)``: standard deviation of the logarithm of each value; NaN
            where the value is.
        violation: Shape ``(n,)``: largest relative violation of a hard limit; at most 0 where
            all of them are met.
    """

    values: NDArray[np.float64]
    log_stds: NDArray[np.float64]
    violation: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.violation)

    @property
    def is_feasible(self) -> NDArray[np.bool_]:
        """Shape ``(n,)``: whether every hard limit is met."""
        return self.violation <= 0


CostFunction: TypeAlias = Callable[[NDArray[np.intp]], CandidateCosts]
"""Costs of candidates given as rows of choice positions, shape ``(n, d)``."""
