"""The whole curve of accuracy against expected cost that exit policies of one network span."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.config import EarlyExitConfig
from hwnas.early_exit import expected_cost
from hwnas.exit_policy import CONFIDENCE_MEASURES, NEVER, ExitPolicy
from hwnas.temperature_scaling import fit_temperatures

# combinations of thresholds that are looked at: of two early exits 128 of each
_COMBINATIONS = 1 << 14
# confidences that differ by less are not told apart in single precision
_DECIMALS = 6
_AREA_DECIMALS = 9
_ROUNDING = 1e-9

_Counts: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class CurvePoint:
    """One exit policy, and what it gives on the samples it was chosen on.

    Args:
        policy: When the network answers early.
        accuracy: Share of samples classified right.
        expected_cost: Of a sample, in the unit of the stage costs.
        exit_shares: Share of samples that leaves at each exit.
    """

    policy: ExitPolicy
    accuracy: float
    expected_cost: float
    exit_shares: tuple[float, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CurvePoint:
        """Rebuild a point from ``asdict``.

        Raises:
            KeyError, TypeError, ValueError: If it is damaged.
        """
        return cls(
            ExitPolicy.from_dict(data["policy"]),
            float(data["accuracy"]),
            float(data["expected_cost"]),
            tuple(float(share) for share in data["exit_shares"]),
        )


@dataclass(frozen=True)
class PolicyCurve:
    """The policies of a network that no other one beats in accuracy and expected cost.

    Args:
        points: The most accurate first, each cheaper than the one before; at least one, and
            the first is at least as accurate as the last exit alone.
        final_accuracy: Of the last exit alone.
        final_cost: Of a sample that leaves there.
    """

    points: tuple[CurvePoint, ...]
    final_accuracy: float
    final_cost: float

    def for_drop(self, max_accuracy_drop: float) -> CurvePoint:
        """Return the cheapest point that costs at most so much accuracy.

        Args:
            max_accuracy_drop: What may be lost of the last exit's accuracy, as a fraction.
        """
        least = self.final_accuracy - max_accuracy_drop - _ROUNDING
        return [point for point in self.points if point.accuracy >= least][-1]

    def hypervolume(self) -> float:
        """Return the area between the curve and an accuracy of 0 at the last exit's cost.

        Costs count by their logarithm: a saving of 10 % is worth the same everywhere.
        """
        savings, accuracy = self._axes()
        return float(np.sum(np.diff(savings, prepend=0.0) * accuracy))

    def well_spread(self, count: int, *always: CurvePoint) -> tuple[CurvePoint, ...]:
        """Return a few points that cover most of the `hypervolume`, in the curve's order.

        Beginning with the most accurate one, the point is added that adds most, again and again.

        Args:
            count: How many points; all where there are not more.
            always: Points of the curve to be among them.
        """
        savings, accuracy = self._axes()
        kept = sorted({0, *(self.points.index(point) for point in always)})
        while len(kept) < min(count, len(self.points)):
            after = np.searchsorted(kept, np.arange(len(savings)), side="right")
            dearer = savings[kept][after - 1]
            less_accurate = np.append(accuracy[kept], 0.0)[after]
            gain = (savings - dearer) * (accuracy - less_accurate)
            gain[kept] = -1.0
            kept = sorted([*kept, int(np.argmax(gain))])
        return tuple(self.points[index] for index in kept)

    def _axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the logarithm of how much cheaper each point is, and its accuracy."""
        costs = np.array([point.expected_cost for point in self.points])
        accuracy = np.array([point.accuracy for point in self.points])
        return np.log(self.final_cost / costs), accuracy


def policy_curve(
    logits: Sequence[NDArray[np.float32]],
    labels: NDArray[np.int64],
    stage_costs: Sequence[float],
    settings: EarlyExitConfig,
) -> PolicyCurve:
    """Find the policies that no other one beats in accuracy and expected cost.

    All combinations of thresholds are judged that lie half-way between neighbouring
    confidences: between all observed ones where those are at most 16,384 combinations, else
    between as many of their quantiles in each exit as give so many. What n samples do is
    counted once, in a histogram over the early exits, whose cumulative sums are the counts of
    every combination: O(n) and O(combinations), not their product. Among policies that do the
    same, that of the highest thresholds stays.

    Args:
        logits: One array ``(n, classes)`` per exit, on samples not trained on.
        labels: Shape ``(n,)``.
        stage_costs: Cost of each stage, more than 0, its exit head included.
        settings: Whether logits are scaled, see `hwnas.temperature_scaling`, and the measure of
            confidence. ``auto`` is that of the largest `PolicyCurve.hypervolume`, the first
            of `hwnas.exit_policy.CONFIDENCE_MEASURES` among equals.
    """
    temperatures = fit_temperatures(logits, labels) if settings.temperature_scaling else ()
    measures = CONFIDENCE_MEASURES if settings.measure == "auto" else (settings.measure,)
    right = np.stack([z.argmax(axis=1) == labels for z in logits])
    final_accuracy, final_cost = float(right[-1].mean()), float(np.sum(stage_costs))
    if len(logits) == 1:
        policy = ExitPolicy((), temperatures, measures[0])
        point = CurvePoint(policy, final_accuracy, final_cost, (1.0,))
        return PolicyCurve((point,), final_accuracy, final_cost)
    curves = []
    for measure in measures:
        unlimited = ExitPolicy((NEVER,) * (len(logits) - 1), temperatures, measure)
        points = _non_dominated_points(
            unlimited, unlimited.confidences(logits[:-1]), right, stage_costs
        )
        curves.append(PolicyCurve(points, final_accuracy, final_cost))
    # the first one of equals; rounded, as the same policies may come of each measure
    return max(curves, key=lambda curve: round(curve.hypervolume(), _AREA_DECIMALS))


def _non_dominated_points(
    policy: ExitPolicy,
    confidences: NDArray[np.float64],
    right: NDArray[np.bool_],
    stage_costs: Sequence[float],
) -> tuple[CurvePoint, ...]:
    """Return the points of one measure of confidence, as a `PolicyCurve` orders them.

    Args:
        policy: Its temperatures and its measure.
        confidences: Of the early exits, shape ``(exits - 1, n)``.
        right: Which samples each exit classifies right, shape ``(exits, n)``.
        stage_costs: Of each stage.
    """
    n = right.shape[1]
    levels = int(_COMBINATIONS ** (1 / (len(right) - 1)) + _ROUNDING)
    grids = [_thresholds(confidence, levels) for confidence in confidences]
    # how many thresholds each sample reaches
    reached = [
        np.searchsorted(grid, confidence, side="right")
        for grid, confidence in zip(grids, confidences, strict=True)
    ]
    leaving = _leaving(reached, [len(grid) for grid in grids], right)
    correct = np.sum([counts for _, counts in leaving], axis=0)
    # relative and rounded: sums in another order must not make a policy seem cheaper
    relative = np.cumsum(stage_costs) / np.sum(stage_costs)
    cost = np.round(np.tensordot(relative, [counts for counts, _ in leaving], axes=1) / n, 12)
    points = []
    for place in _non_dominated(correct, cost):
        thresholds = tuple(float(grid[i]) for grid, i in zip(grids, place, strict=True))
        shares = tuple(float(counts[place]) / n for counts, _ in leaving)
        points.append(
            CurvePoint(
                replace(policy, thresholds=thresholds),
                float(correct[place]) / n,
                expected_cost(shares, stage_costs),
                shares,
            )
        )
    return tuple(points)


def _thresholds(confidence: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
    """Return at most so many thresholds of one exit, ascending, the last one `NEVER`."""
    values = np.round(confidence, _DECIMALS)
    distinct = np.unique(values)
    halfway = (distinct + np.append(0.0, distinct[:-1])) / 2
    if len(distinct) >= levels:
        quantiles = np.quantile(values, np.linspace(0, 1, levels - 1), method="higher")
        halfway = halfway[np.searchsorted(distinct, np.unique(quantiles))]
    return np.append(halfway, NEVER)


def _leaving(
    reached: Sequence[NDArray[np.intp]], sizes: Sequence[int], right: NDArray[np.bool_]
) -> list[tuple[_Counts, _Counts]]:
    """Return, per exit, how many samples leave there and how many of them are right.

    Args:
        reached: How many thresholds of its grid a sample reaches, per early exit.
        sizes: Of the grids.
        right: Which samples each exit classifies right, shape ``(exits, n)``.

    Returns:
        Arrays with one entry per combination of thresholds, of shape ``sizes``.
    """
    found = []
    for k, correct in enumerate(right):
        counts = []
        for counted in (np.ones_like(correct), correct):
            entering = _going_on(reached[:k], sizes, counted)
            if k < len(reached):
                entering = entering - _going_on(reached[: k + 1], sizes, counted)
            counts.append(np.broadcast_to(entering, tuple(sizes)))
        found.append((counts[0], counts[1]))
    return found


def _going_on(
    reached: Sequence[NDArray[np.intp]], sizes: Sequence[int], counted: NDArray[np.bool_]
) -> _Counts:
    """Return how many samples stay below the thresholds of the first exits, all of them.

    A histogram of how many thresholds are reached, summed up along every axis; axes of later
    exits have length 1.
    """
    shape = tuple(sizes[: len(reached)])
    if not reached:
        return np.full((1,) * len(sizes), np.count_nonzero(counted))
    cells = np.ravel_multi_index(tuple(r[counted] for r in reached), shape)
    counts = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)
    for axis in range(len(shape)):
        counts = counts.cumsum(axis=axis)
    return counts.reshape((*shape, *(1 for _ in sizes[len(shape) :])))


def _non_dominated(correct: _Counts, cost: NDArray[np.float64]) -> list[tuple[int, ...]]:
    """Return the places of what nothing beats, the most correct first; of equals, the last.

    Args:
        correct: How many samples are right, per combination of thresholds.
        cost: Of the same shape.
    """
    flat_correct, flat_cost = correct.ravel(), cost.ravel()
    cheapest = np.full(int(flat_correct.max()) + 1, np.inf)
    np.minimum.at(cheapest, flat_correct, flat_cost)
    places = np.zeros(len(cheapest), dtype=np.int64)
    equal = np.flatnonzero(flat_cost == cheapest[flat_correct])
    np.maximum.at(places, flat_correct[equal], equal)
    most_first = cheapest[::-1]
    cheaper = most_first < np.append(np.inf, np.minimum.accumulate(most_first)[:-1])
    kept = places[::-1][cheaper]
    axes = np.unravel_index(kept, correct.shape)
    return list(zip(*(axis.tolist() for axis in axes), strict=True))
