"""Calibrate until the predictions are as good as wished: measure what tells most, then judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import Graph
from latency_predictors.calibration import finish
from latency_predictors.campaign import Campaign
from latency_predictors.coverage import covering_rows, distinct_architectures
from latency_predictors.features import graph_features
from latency_predictors.fitting import require_measured
from latency_predictors.held_out import (
    error_probability_of_test,
    sample_needed,
    share_lower_bound,
)
from latency_predictors.learning_curve import Plan, best_plan, decay_exponent
from latency_predictors.measured_architecture import MeasuredArchitecture
from latency_predictors.noise import NoiseFloor, choose_anchors, noise_floor
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.selection import most_informative
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import Architecture

Array = NDArray[np.float64]
Reason: TypeAlias = Literal["reached", "noise_floor", "max_samples", "whole_space"]

FIRST_FIT = 12
FIRST_JUDGED = 20
_POOL = 1000
_GROWTH = 1.5
_LEAST_BATCH = 5
_FORESIGHT = 5000
_ERROR_PROBABILITY = 0.05
# the floor is the median of few differences, and is not asked of predictors just begun
_AT_FLOOR, _LEAST_AT_FLOOR = 1.2, 24


@dataclass(frozen=True)
class Goal:
    """What calibration shall reach.

    Args:
        within: Relative error of a good prediction of latency.
        share: Share of good predictions among random architectures.
        max_samples: Architectures measured at most.

    Raises:
        ValueError: If so few measurements can never prove such a share.
    """

    within: float
    share: float
    max_samples: int

    def __post_init__(self) -> None:
        probability = error_probability_of_test(1, _ERROR_PROBABILITY)
        least = sample_needed(1.0, self.share, probability, 1_000_000)
        needed = None if least is None else FIRST_FIT + max(least, FIRST_JUDGED)
        if needed is None or needed > self.max_samples:
            raise ValueError(
                f"a share of {self.share:g} takes at least {needed} architectures to prove, even "
                f"if every prediction is good; {self.max_samples} may be measured"
            )


@dataclass(frozen=True)
class Round:
    """How good the predictors of one round are on everything held out so far.

    Args:
        n_fitted: Architectures fitted to.
        n_held_out: Architectures judged on.
        n_within: Of those, how many were predicted well.
        median_error: Median relative error.
    """

    n_fitted: int
    n_held_out: int
    n_within: int
    median_error: float


def grown(n: int) -> int:
    """Return how many architectures the next round is fitted to after one of ``n``."""
    return ceil(_GROWTH * n)


def calibrate_within(campaign: Campaign, goal: Goal) -> TargetPredictors:
    """Measure as few architectures as needed until predictions of latency are good enough.

    It begins with architectures that cover the space. Then, whatever is expected to lead there
    with less measuring: the architectures that tell most are measured and fitted to, or random
    ones, never chosen nor fitted to, are measured to judge the predictors. It ends when the
    lower confidence bound (95 %, for all tests made together) of the share of good predictions
    is at least the share wished for; when errors are down at the noise floor, and the noise
    alone keeps the share from it; or when all that may be measured is measured. The predictors
    returned are fitted to everything, so they are better than those judged.

    Args:
        campaign: Measures; its seed chooses the architectures. One that knows what an
            interrupted calibration measured goes on where that stopped, with the same result.
        goal: What to reach.

    Raises:
        CalibrationError: If fewer than 8 architectures could be measured.
        NotMeasuredError: If the target's timings are emulated.
    """
    require_measured(campaign.target.name, campaign.target.spec.provenance)
    calibration = _ActiveCalibration(campaign, goal)
    reason = calibration.run()
    predictors = finish(
        campaign, calibration.fitted, calibration.held_out, calibration.anchors, repeats=2
    )
    predictors.report["goal"] = {**asdict(goal), **calibration.report(reason)}
    return predictors


class _ActiveCalibration:
    def __init__(self, campaign: Campaign, goal: Goal) -> None:
        self._campaign, self._goal = campaign, goal
        rng = np.random.default_rng(campaign.seed)
        drawn = list(distinct_architectures(campaign.space, _POOL + goal.max_samples, rng))
        n_reserved = min(goal.max_samples, len(drawn) // 2)
        self._reserve, self._pool = drawn[:n_reserved], drawn[n_reserved:]
        self._features = graph_features([campaign.space.workloads(a) for a in self._pool])
        self._graphs = [_graphs(campaign, a) for a in self._pool]
        self._asked: list[int] = []
        self._n_judged = self._n_tests = 0
        self._bound = 0.0
        self._noise: NoiseFloor | None = None
        self._predictors: list[tuple[int, PriorResidualPredictor]] = []
        self.fitted: list[MeasuredArchitecture] = []
        self.held_out: list[MeasuredArchitecture] = []
        self.anchors: list[MeasuredArchitecture] = []

    def run(self) -> Reason:
        self._measure_to_fit(covering_rows(self._features, min(FIRST_FIT, len(self._pool))))
        self._measure_to_judge(FIRST_JUDGED)
        self._campaign.require_enough(len(self.fitted))
        self._campaign.require_enough(len(self.held_out))
        self.anchors = choose_anchors(self.fitted)
        self._noise = noise_floor(self._campaign.repeat(self.anchors))
        while True:
            if self._predictors_are_old():
                self._predictors.append((len(self.fitted), _fit(self.fitted)))
            errors = self._errors(self._predictors[-1][1])
            if reason := self._finished(errors):
                return reason
            plan = self._plan(errors, self._goal.max_samples)
            self._tell(errors, plan)
            if plan is not None and plan.to_fit == 0 and self._n_judged < len(self._reserve):
                self._measure_to_judge(max(plan.to_judge, _LEAST_BATCH))
            else:
                self._measure_what_tells_most()

    def report(self, reason: Reason) -> dict[str, Any]:
        """Return how it went, JSON-ready."""
        errors = self._errors(self._predictors[-1][1])
        plan = Plan(0, 0) if reason == "reached" else self._plan(errors, _FORESIGHT)
        return {
            "stopped": reason,
            "confidence": 1 - _ERROR_PROBABILITY,
            "n_within": self._n_within(errors),
            "n_held_out": len(errors),
            "lower_bound": self._bound,
            "median_error": float(np.median(np.abs(errors))),
            "expected_more": None if plan is None else plan.total,
            "rounds": [asdict(r) for r in self._rounds()],
        }

    def _finished(self, errors: Array) -> Reason | None:
        goal, noise = self._goal, self._noise
        probability = self._error_probability()
        self._bound = share_lower_bound(self._n_within(errors), len(errors), probability)
        if self._bound >= goal.share:
            return "reached"
        if self._n_within(errors) >= goal.share * len(errors) and self._could_prove(errors):
            self._n_tests += 1
        if (
            noise is not None
            and len(self.fitted) >= _LEAST_AT_FLOOR
            and float(np.median(np.abs(errors))) <= _AT_FLOOR * noise.floor
            and noise.share_within(goal.within) < goal.share
        ):
            return "noise_floor"
        if self._left() <= 0:
            return "max_samples"
        if len(self._asked) == len(self._pool) and self._n_judged == len(self._reserve):
            return "whole_space"
        return None

    def _could_prove(self, errors: Array) -> bool:
        """Whether so many held out could have passed: only such a test could have erred."""
        return share_lower_bound(len(errors), len(errors), self._error_probability()) >= (
            self._goal.share
        )

    def _error_probability(self) -> float:
        return error_probability_of_test(self._n_tests + 1, _ERROR_PROBABILITY)

    def _plan(self, errors: Array, most: int) -> Plan | None:
        rounds = self._rounds()
        sizes = [len(self.fitted)]
        while grown(sizes[-1]) + len(errors) < most:
            sizes.append(grown(sizes[-1]))
        return best_plan(
            errors,
            len(self.fitted),
            sizes,
            exponent=decay_exponent([r.n_fitted for r in rounds], [r.median_error for r in rounds]),
            floor=0.0 if self._noise is None else self._noise.floor,
            tolerance=self._goal.within,
            share=self._goal.share,
            error_probability=self._error_probability(),
            most=most,
        )

    def _rounds(self) -> list[Round]:
        """Judge the predictors of every round on all that is held out by now."""
        found = []
        for n_fitted, predictor in self._predictors:
            errors = self._errors(predictor)
            median = float(np.median(np.abs(errors)))
            found.append(Round(n_fitted, len(errors), self._n_within(errors), median))
        return found

    def _predictors_are_old(self) -> bool:
        return not self._predictors or self._predictors[-1][0] != len(self.fitted)

    def _errors(self, predictor: PriorResidualPredictor) -> Array:
        measured = np.array([item.latency_s for item in self.held_out])
        predicted, _ = _latencies_s(predictor, [item.graphs for item in self.held_out])
        return np.asarray(predicted / measured - 1)

    def _n_within(self, errors: Array) -> int:
        return int((np.abs(errors) <= self._goal.within * (1 + 1e-12)).sum())

    def _left(self) -> int:
        return self._goal.max_samples - len(self._asked) - self._n_judged

    def _measure_what_tells_most(self) -> None:
        n = min(grown(len(self.fitted)) - len(self.fitted), self._left())
        predicted, stds = _latencies_s(self._predictors[-1][1], self._graphs)
        error_std = float(np.median(stds / predicted))
        rows = most_informative(self._features, predicted, error_std, self._asked, n)
        if rows:
            self._measure_to_fit(rows)
        else:
            self._measure_to_judge(n)

    def _measure_to_fit(self, rows: Sequence[int]) -> None:
        self._asked += rows
        chosen = [self._pool[row] for row in rows]
        self.fitted += self._campaign.measure(chosen, "Measuring to fit")

    def _measure_to_judge(self, n: int) -> None:
        chosen = self._reserve[self._n_judged :][: min(n, self._left())]
        self._n_judged += len(chosen)
        self.held_out += self._campaign.measure(chosen, "Measuring to judge")

    def _tell(self, errors: Array, plan: Plan | None) -> None:
        each = self._campaign.seconds_each
        expected = plan or self._plan(errors, _FORESIGHT)
        if expected is None:
            more = "no number of measurements is expected to do"
        elif each is None:
            more = f"about {expected.total} more"
        else:
            more = f"about {expected.total} more, {expected.total * each:.0f} s"
        if plan is None:
            more += f"; {self._left()} are left"
        self._campaign.observer.message(
            f"Fitted to {len(self.fitted)}: {self._n_within(errors)} of {len(errors)} held out "
            f"within {self._goal.within:.0%}, sure of {self._bound:.0%}; {more}"
        )


def _graphs(campaign: Campaign, arch: Architecture) -> tuple[Graph, ...]:
    return tuple(stage.workloads for stage in campaign.space.stages(arch))


def _fit(measured: Sequence[MeasuredArchitecture]) -> PriorResidualPredictor:
    return PriorResidualPredictor("latency_s").fit(
        [graph for item in measured for graph in item.graphs],
        np.array([m.latency_median_s for item in measured for m in item.measurements]),
        [item.architecture.arch_id for item in measured for _ in item.graphs],
    )


def _latencies_s(
    predictor: PriorResidualPredictor, architectures: Sequence[Sequence[Graph]]
) -> tuple[Array, Array]:
    """Return latencies through all stages, and the deviations claimed, each of shape ``(n,)``."""
    stages = predictor.predict([graph for graphs in architectures for graph in graphs])
    ends = np.cumsum([len(graphs) for graphs in architectures])[:-1]
    parts = np.split(np.array([(p.mean, p.std) for p in stages]), ends)
    means, stds = np.array([part.sum(axis=0) for part in parts]).T
    return means, stds
