"""What early exits cost: shares of samples, and the mean over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def exit_shares(exits: NDArray[np.int64], n_exits: int) -> tuple[float, ...]:
    """Return the share of samples that leaves at each exit."""
    counts = np.bincount(exits, minlength=n_exits)
    return tuple(float(c) for c in counts / len(exits))


def expected_cost(shares: Sequence[float], stage_costs: Sequence[float]) -> float:
    """Return ``sum_k p_k sum_{j<=k} c_j``: a sample that leaves at k paid all stages to k.

    Args:
        shares: Share of samples that leaves at each exit.
        stage_costs: Cost of each stage, its exit head included.
    """
    return float(np.dot(shares, np.cumsum(stage_costs)))
