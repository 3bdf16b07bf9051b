"""Whether a compressed network is kept: better in something, and no worse in anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from hwnas.candidate_energy import energy_metrics
from hwnas.candidate_metrics import latency_metrics
from hwnas.candidate_training import TrainingOutcome
from hwnas.compression_config import MarginsConfig
from hwnas.variants import Attempt
from latency_predictors import MeasuredArchitecture
from latency_predictors.noise import LEAST_CHANGE
from targets import EnergyModel

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SeedResult:
    """What the network of one seed does on the validation split, and what that costs.

    Args:
        accuracy: Under its exit policy.
        latency_s: Expected, under that policy.
        energy_j: Expected, under that policy.
        n: Validation samples.
    """

    accuracy: float
    latency_s: float
    energy_j: float
    n: int

    @classmethod
    def of(
        cls, outcome: TrainingOutcome, measured: MeasuredArchitecture, energy_model: EnergyModel
    ) -> SeedResult:
        """Join a training with the measurements of its network's stages.

        Args:
            outcome: Of the training.
            measured: One measurement per stage; the same for all seeds.
            energy_model: Of the target, for what no meter measured.

        Raises:
            ValueError: If the training failed.
        """
        if outcome.validation is None:
            raise ValueError(f"the training failed: {outcome.failure}")
        shares = outcome.validation.exit_shares
        return cls(
            outcome.validation.accuracy,
            latency_metrics(measured, shares)["latency_s"].value,
            energy_metrics(measured, shares, energy_model)["energy_j"].value,
            outcome.validation.n,
        )


@dataclass(frozen=True)
class CostErrors:
    """How far the ratios of two networks' costs may be off, relative.

    Args:
        latency: Of their latencies.
        energy: Of their energies.
    """

    latency: float = 0.0
    energy: float = 0.0


NO_ERRORS = CostErrors()


def cost_errors(before: MeasuredArchitecture, after: MeasuredArchitecture) -> CostErrors:
    """Return how far the ratios of two networks' costs may be off.

    The half widths of the intervals of both, relative, of the path through every exit, added in
    squares; at least what is not called drift of a device either, as slow changes of its speed
    are in no interval. Energies that no meter measured are modelled from the latencies, whose
    error they have.

    Args:
        before: Measured.
        after: Measured; where it is the same measurement nothing can be off.
    """
    if before is after:
        return NO_ERRORS
    latency = _joined(_latency_error(before), _latency_error(after))
    energies = _energy_error(before), _energy_error(after)
    if None in energies:
        return CostErrors(latency, latency)
    return CostErrors(latency, _joined(*(e for e in energies if e is not None)))


def _joined(*errors: float) -> float:
    return max(LEAST_CHANGE, math.hypot(*errors))


def _latency_error(measured: MeasuredArchitecture) -> float:
    ends = [m.latency_interval_s() for m in measured.measurements]
    return sum(high - low for low, high in ends) / 2 / measured.latency_s


def _energy_error(measured: MeasuredArchitecture) -> float | None:
    """Return the error of an energy that meters measured; ``None`` where they did not."""
    energies = [m.energy.gross_j for m in measured.measurements if m.energy is not None]
    if len(energies) < len(measured.measurements):
        return None
    return sum(e.high - e.low for e in energies) / 2 / sum(e.value for e in energies)


@dataclass(frozen=True)
class Change:
    """A mean change with its interval."""

    value: float
    low: float
    high: float


def judge_compression(
    arch_id: str,
    what: str,
    base: Mapping[int, SeedResult],
    compressed: Mapping[int, SeedResult],
    margins: MarginsConfig,
    errors: CostErrors = NO_ERRORS,
) -> Attempt:
    """Compare a network before and after compression, seed by seed.

    It is fit to be kept if no change can be for the worse by more than its margin, and one is
    for the better: the accuracy's interval lies above minus its margin, latency's and energy's
    below theirs, and at least one of the three lies on the good side of 0. Intervals are
    Student's of the paired differences, 95 %, each on its own, see `accuracy_change`; costs are
    compared by the logarithm of their ratio. The test split has no part in it.

    Args:
        arch_id: Of the network.
        what: Such as ``distillation``.
        base: By seed.
        compressed: By seed; what was trained with a seed that ``base`` lacks has no part in it.
        margins: See `MarginsConfig`.
        errors: See `cost_errors`.

    References:
        Piaggio et al. (2012), Reporting of noninferiority and equivalence randomized trials,
        JAMA 308(24), doi:10.1001/jama.2012.87802 (margins).
    """
    seeds = sorted(base.keys() & compressed.keys())
    if len(seeds) < 2:
        reason = f"not kept: {len(seeds)} seeds trained before and after, wanted at least 2"
        return Attempt(arch_id, what, False, reason, {"seeds": len(seeds)})
    pairs = [(base[seed], compressed[seed]) for seed in seeds]
    accuracy = accuracy_change(
        [after.accuracy - before.accuracy for before, after in pairs], base[seeds[0]].n
    )
    latency = _relative(
        [after.latency_s / before.latency_s for before, after in pairs], errors.latency
    )
    energy = _relative([after.energy_j / before.energy_j for before, after in pairs], errors.energy)
    doubts = _doubts(accuracy, {"latency": latency, "energy": energy}, margins)
    told = (
        f"accuracy {_points(accuracy)} points, latency {_percent(latency)}, "
        f"energy {_percent(energy)}; {len(seeds)} seeds"
    )
    figures = {"seeds": float(len(seeds))}
    for name, change in (("accuracy", accuracy), ("latency", latency), ("energy", energy)):
        figures |= {
            f"{name}_change": change.value,
            f"{name}_change_low": change.low,
            f"{name}_change_high": change.high,
        }
    verdict = f"not kept, {doubts}" if doubts else "better"
    return Attempt(arch_id, what, not doubts, f"{verdict}: {told}", figures)


def accuracy_change(differences: Sequence[float], n: int) -> Change:
    """Return the mean of accuracies' paired differences with an interval of seeds and samples.

    That of `mean_change`, and what the choice of the n samples does at the least, added in
    squares: a difference of mean d over samples, each -1, 0 or 1, has a variance of at least
    ``|d| - d^2``. Without it two seeds of equal gain would leave no doubt.

    Args:
        differences: One per seed, at least two.
        n: Samples, the same for all seeds.
    """
    seeds = mean_change(differences)
    gain = abs(seeds.value)
    samples = float(ndtri(0.5 + CONFIDENCE / 2)) * math.sqrt((gain - gain**2) / n)
    half = math.hypot(seeds.high - seeds.value, samples)
    return Change(seeds.value, seeds.value - half, seeds.value + half)


def mean_change(differences: Sequence[float]) -> Change:
    """Return the mean of paired differences with Student's interval.

    ``m +- t s / sqrt(k)`` for k differences of mean m and standard deviation s, t of k - 1
    degrees of freedom.

    Args:
        differences: At least two.

    Raises:
        ValueError: For fewer.
    """
    k = len(differences)
    if k < 2:
        raise ValueError(f"an interval over seeds needs at least 2 of them. Got {k}.")
    mean = float(np.mean(differences))
    t = float(stdtrit(k - 1, 0.5 + CONFIDENCE / 2))
    half = t * float(np.std(differences, ddof=1)) / math.sqrt(k)
    return Change(mean, mean - half, mean + half)


def _relative(ratios: Sequence[float], error: float) -> Change:
    """Return how much a cost grew, as a share of what it was."""
    logs = mean_change([math.log(ratio) for ratio in ratios])
    wider = math.log1p(error)
    return Change(
        math.expm1(logs.value), math.expm1(logs.low - wider), math.expm1(logs.high + wider)
    )


def _doubts(accuracy: Change, costs: Mapping[str, Change], margins: MarginsConfig) -> str:
    """Return what speaks against keeping it, empty where nothing does."""
    worse = [
        f"{name} may be worse by more than its margin"
        for name, c in costs.items()
        if c.high > margins.cost
    ]
    if accuracy.low < -margins.accuracy:
        worse.insert(0, "accuracy may be worse by more than its margin")
    if worse:
        return " and ".join(worse)
    better = accuracy.low > 0 or any(c.high < 0 for c in costs.values())
    return "" if better else "nothing is shown to be better"


def _points(change: Change) -> str:
    value, low, high = (100 * v for v in (change.value, change.low, change.high))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _percent(change: Change) -> str:
    value, low, high = (100 * v for v in (change.value, change.low, change.high))
    return f"{value:+.1f} % ({low:+.1f} to {high:+.1f})"
