"""What early exits save: shares of samples, expected cost, and whether it is worth it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.units import engineering


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


def missing_saving(
    stage_costs: Sequence[float], shares: Sequence[float], static_cost: float, unit: str
) -> str | None:
    """Return a sentence that early exits save nothing; ``None`` where they do save.

    Args:
        stage_costs: Measured, of each stage, its exit head included.
        shares: Share of samples that leaves at each exit.
        static_cost: Measured, of the same network without its early exits.
        unit: SI unit of the costs, ``s`` or ``J``.
    """
    expected = expected_cost(shares, stage_costs)
    if len(stage_costs) == 1 or expected < static_cost:
        return None
    early = f"{1 - shares[-1]:.0%} of the samples leave early"
    return (
        f"Early exits save nothing: {early}, yet a sample costs "
        f"{engineering(expected, unit)} on average, exit heads included, and "
        f"{engineering(static_cost, unit)} without them."
    )
