"""How errors fall with measurements, and what it costs to prove a share of good predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_predictors.held_out import sample_needed

Array = NDArray[np.float64]

# what a power law is expected to be before much was seen, and how surely, against the scatter
# of a median error
_EXPONENT, _EXPONENT_STD, _SCATTER = 0.3, 0.15, 0.15
# a share is believed as if one more were within, and a quarter more were not
_PRIOR_WITHIN, _PRIOR_NOT = 1.0, 0.25


@dataclass(frozen=True)
class Plan:
    """What is expected to be needed yet.

    Args:
        to_fit: Architectures to fit to.
        to_judge: Random architectures to judge on.
    """

    to_fit: int
    to_judge: int

    @property
    def total(self) -> int:
        """Both."""
        return self.to_fit + self.to_judge


def decay_exponent(n_fitted: Sequence[int], errors: Sequence[float]) -> float:
    """Return ``a`` of the power law ``error = c n^-a``, by least squares on the logarithms.

    A normal prior on ``a`` (0.3, give or take 0.15) takes the place of what two or three points
    cannot tell.

    Args:
        n_fitted: Architectures fitted to, one per round.
        errors: Typical error of each round, positive.

    Returns:
        At least 0: errors that grow with measurements do so by chance.

    References:
        Cortes et al. (1993), Learning curves: asymptotic values and rate of convergence,
        Sec. 2 (power laws).
    """
    x, y = np.log(n_fitted), np.log(np.maximum(errors, 1e-12))
    x, y = x - x.mean(), y - y.mean()
    weight = (_SCATTER / _EXPONENT_STD) ** 2
    return max(0.0, float((weight * _EXPONENT - x @ y) / (weight + x @ x)))


def best_plan(
    errors: Array,
    n_fitted: int,
    sizes: Iterable[int],
    *,
    exponent: float,
    floor: float,
    tolerance: float,
    share: float,
    error_probability: float,
    most: int,
) -> Plan | None:
    """Return the least measuring that is expected to prove the share of good predictions.

    Fitting to more makes errors smaller, so that fewer held-out architectures prove it; both
    cost the same. The errors keep their distribution; their scale follows the power law down to
    the noise floor.

    Args:
        errors: Relative errors held out, shape ``(n,)``.
        n_fitted: Architectures fitted to.
        sizes: How many could be fitted to instead; ``n_fitted`` may be one of them.
        exponent: Of the power law.
        floor: Median relative error that is noise.
        tolerance: Error of a good prediction.
        share: Of good predictions that is wanted.
        error_probability: Of the proof.
        most: Architectures that may be measured in all.

    Returns:
        ``None`` if no size is expected to do.
    """
    sizes_of = np.abs(errors)
    typical = max(float(np.median(sizes_of)), 1e-12)
    plans = []
    for n in sizes:
        excess = max(typical**2 - floor**2, 0.0) * (n / n_fitted) ** (-2 * exponent)
        scale = min(np.sqrt(min(floor, typical) ** 2 + excess) / typical, 1.0)
        n_within = int((sizes_of * scale <= tolerance).sum())
        expected = (n_within + _PRIOR_WITHIN) / (len(errors) + _PRIOR_WITHIN + _PRIOR_NOT)
        needed = sample_needed(expected, share, error_probability, most - n)
        if needed is not None:
            plans.append(Plan(n - n_fitted, max(needed - len(errors), 0)))
    return min(plans, key=lambda plan: plan.total, default=None)
