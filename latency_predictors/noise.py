"""How well a measurement repeats: the floor under every error, and whether a board drifted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from latency_predictors.measured_architecture import MeasuredArchitecture
from search_spaces import Architecture, SearchSpace

N_ANCHORS = 5
"""Architectures that are measured again."""
CONFIDENCE = 0.99
"""Of the drift test: one false alarm in a hundred checks."""
LEAST_CHANGE = 0.02
"""A change of less is not called drift, however sure: no prediction is that good."""
LEAST_ANCHORS = 3
"""Fewer tell nothing of the noise."""
# of the median of |x| to the standard deviation of x, for a normal law
_MEDIAN_TO_STD = float(1 / stats.norm.ppf(0.75))


@dataclass(frozen=True)
class Anchor:
    """An architecture that was measured several times.

    Args:
        architecture: What was measured.
        latency_s: Every measurement, oldest first; at least two.
    """

    architecture: Architecture
    latency_s: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {"architecture": self.architecture.to_dict(), "latency_s": list(self.latency_s)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], space: SearchSpace) -> Anchor:
        """Read what `to_dict` returned.

        Raises:
            KeyError, TypeError, ValueError: If it is not that, or not of the space.
        """
        arch = space.canonicalize(data["architecture"]["choices"])
        latency_s = tuple(float(t) for t in data["latency_s"])
        if len(latency_s) < 2 or not all(0 < t < np.inf for t in latency_s):
            raise ValueError(f"latency_s: wanted at least 2 positive numbers, got {latency_s}")
        return cls(arch, latency_s)


@dataclass(frozen=True)
class NoiseFloor:
    """What repeating the same measurement tells.

    Args:
        repeat_difference: Median relative difference of two measurements of one architecture.
        floor: Median relative error that even a predictor which knew the truth would show on
            single measurements: ``repeat_difference / sqrt(2)``, as a difference of two
            independent errors has twice the variance of one.
        std: Standard deviation of the log of a measurement: the larger of a robust estimate
            and the root mean square.
        n_pairs: Differences it was estimated from.
    """

    repeat_difference: float
    floor: float
    std: float
    n_pairs: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    def share_within(self, tolerance: float) -> float:
        """Return the share of measurements within ``tolerance`` of the truth (normal law)."""
        if self.std == 0:
            return 1.0
        return float(2 * stats.norm.cdf(np.log1p(tolerance) / self.std) - 1)


@dataclass(frozen=True)
class Drift:
    """Whether a board still measures what it measured.

    Args:
        change: Geometric mean of now to then, less 1.
        spread: Root mean square of the log ratios.
        limit: The spread that chance exceeds in one of a hundred checks.
        drifted: Whether the spread is beyond both the limit and `LEAST_CHANGE`.
        n: Anchors compared.
    """

    change: float
    spread: float
    limit: float
    drifted: bool
    n: int


def choose_anchors(
    measured: Sequence[MeasuredArchitecture], n: int = N_ANCHORS
) -> list[MeasuredArchitecture]:
    """Return ``n`` architectures spread evenly over the order of latencies, ends included."""
    ordered = sorted(measured, key=lambda m: (m.latency_s, m.architecture.arch_id))
    ranks = np.linspace(0, len(ordered) - 1, min(n, len(ordered)))
    return [ordered[int(rank)] for rank in np.round(ranks)]


def noise_floor(anchors: Sequence[Anchor]) -> NoiseFloor | None:
    """Estimate the floor from the differences of consecutive measurements of each anchor.

    Returns:
        ``None`` for fewer than 3 anchors.
    """
    if len(anchors) < LEAST_ANCHORS:
        return None
    logs = np.concatenate([np.diff(np.log(anchor.latency_s)) for anchor in anchors])
    differences = np.abs(logs)
    median = float(np.median(differences))
    root_mean_square = float(np.sqrt(np.mean(differences**2)))
    return NoiseFloor(
        repeat_difference=float(np.expm1(median)),
        floor=float(np.expm1(median / np.sqrt(2))),
        std=max(_MEDIAN_TO_STD * median, root_mean_square) / float(np.sqrt(2)),
        n_pairs=len(differences),
    )


def drift(anchors: Sequence[Anchor], now_s: Sequence[float]) -> Drift | None:
    """Test whether latencies measured now are those of the calibration.

    Under no drift the log ratio of now to the mean of k earlier measurements has variance
    ``std^2 (1 + 1/k)``, where ``std`` is estimated from ``v`` repeats: the mean of the scaled
    squares of n anchors follows F(n, v). The test sees a common shift as well as a change of
    only some architectures.

    Args:
        anchors: Of the calibration.
        now_s: One latency per anchor.

    Returns:
        ``None`` for fewer than 3 anchors.

    References:
        Snedecor & Cochran (1989), Statistical Methods, 8th ed., Sec. 6.12: the ratio of two
        independent estimates of one variance.
    """
    noise = noise_floor(anchors)
    if noise is None:
        return None
    ratios = np.log(now_s) - np.array([np.mean(np.log(a.latency_s)) for a in anchors])
    widening = np.array([1 + 1 / len(a.latency_s) for a in anchors])
    spread = _root_mean_square(ratios)
    chance = float(stats.f.ppf(CONFIDENCE, len(anchors), noise.n_pairs))
    limit = noise.std * float(np.sqrt(chance * widening.mean()))
    return Drift(
        change=float(np.expm1(ratios.mean())),
        spread=spread,
        limit=limit,
        drifted=spread > max(limit, float(np.log1p(LEAST_CHANGE))),
        n=len(anchors),
    )


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
