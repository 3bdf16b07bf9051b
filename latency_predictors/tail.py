"""The slow tail of latencies: P99 of paths through stages, and how far it lies above the median."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import binom

from latency_predictors._types import Predictions
from latency_predictors.measured_architecture import MeasuredArchitecture

_DRAWS = 20_000
# a P99 of fewer inferences is but the slowest of them
_LEAST_SAMPLES = 100
_LEAST_ARCHITECTURES = 8
_ONE_SIDED = 0.95


def path_p99_s(measured: MeasuredArchitecture, exit_shares: Sequence[float] | None = None) -> float:
    """Return the P99 of one inference, seconds.

    Its exit is drawn by the shares, the times of its stages independently from their samples:
    of several timings of a stage, those of the one with the slowest tail.

    Args:
        measured: One measurement per stage.
        exit_shares: Share of samples that leaves at each exit; all at the last if not given.
    """
    n_stages = len(measured.measurements)
    shares = np.eye(n_stages)[-1] if exit_shares is None else np.asarray(exit_shares)
    rng = np.random.default_rng(0)
    exits = rng.choice(n_stages, size=_DRAWS, p=shares / shares.sum())
    total = np.zeros(_DRAWS)
    for stage, measurement in enumerate(measured.measurements):
        reached = exits >= stage
        total[reached] += rng.choice(measurement.tail_samples_s, size=int(reached.sum()))
    return float(np.percentile(total, 99))


def worst_p99_bound_s(measured: MeasuredArchitecture) -> float | None:
    """Return an upper bound, at 95 % confidence, of the P99 of the path through every exit.

    Of K stages, the sum of upper confidence bounds of their quantiles ``1 - 0.01 / K``: at
    most one path in a hundred exceeds the sum of these quantiles, however stages depend on
    each other. A bound is an order statistic, and makes no assumption on the distribution.

    Args:
        measured: One measurement per stage.

    Returns:
        ``None`` where there are too few samples for any bound: 299 are needed of one stage.

    References:
        Conover (1999), Practical Nonparametric Statistics, Sec. 3.2.
    """
    n_stages = len(measured.measurements)
    quantile, error = 1 - 0.01 / n_stages, (1 - _ONE_SIDED) / n_stages
    total_s = 0.0
    for measurement in measured.measurements:
        n = len(measurement.tail_samples_s)
        # the least k with P(fewer than k of n samples are below the quantile) >= 1 - error
        rank = int(binom.ppf(1 - error, n, quantile)) + 1
        if rank > n:
            return None
        total_s += float(np.sort(measurement.tail_samples_s)[rank - 1])
    return total_s


@dataclass(frozen=True)
class TailRatio:
    """P99 over median latency of paths through every stage, of the architectures measured.

    Args:
        typical: Its median.
        low: What a new architecture stays above in 95 of 100 cases.
        high: What it stays below in as many.
        log_std: Standard deviation of its logarithm.
    """

    typical: float
    low: float
    high: float
    log_std: float

    @classmethod
    def fit(cls, measured: Sequence[MeasuredArchitecture]) -> TailRatio | None:
        """Learn from architectures of which enough inferences were timed.

        The ends are conformal: order statistics that hold for an architecture drawn as these
        were, whatever the distribution of ratios; the extremes where there are fewer than 19.

        Returns:
            ``None`` where there are fewer than 8 such architectures.

        References:
            Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World, Sec. 2.2.
        """
        enough = [
            item
            for item in measured
            if all(len(m.latency_s) >= _LEAST_SAMPLES for m in item.measurements)
        ]
        if len(enough) < _LEAST_ARCHITECTURES:
            return None
        ratios = np.sort([path_p99_s(item) / item.latency_s for item in enough])
        rank = min(int(np.ceil((len(ratios) + 1) * _ONE_SIDED)), len(ratios))
        return cls(
            float(np.median(ratios)),
            float(ratios[-rank]),
            float(ratios[rank - 1]),
            float(np.log(ratios).std()),
        )

    def p99(self, latency: Predictions) -> Predictions:
        """Return predictions of the P99 from those of the median latency.

        Each end joins those of median and ratio. The errors of both are taken as independent.
        """
        mean = latency.mean * self.typical
        std = mean * np.hypot(latency.std / latency.mean, self.log_std)
        return replace(
            latency, mean=mean, std=std, low=latency.low * self.low, high=latency.high * self.high
        )

    def to_dict(self) -> dict[str, float]:
        """Return the arguments of the class."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> TailRatio:
        """Rebuild what `to_dict` returned.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        return cls(*(float(state[name]) for name in ("typical", "low", "high", "log_std")))
