"""Calibration to a goal, on a device whose latencies are a law with known noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import search_spaces
from latency_predictors import Campaign, TargetPredictors, campaign
from latency_predictors.active import Goal, calibrate_within
from search_spaces import Architecture, SearchSpace
from targets import Failure, Measurement
from tests.unit.latency_predictors.formula_target import FormulaTarget
from tests.unit.latency_predictors.law_device import LawDevice

GOAL = Goal(within=0.2, share=0.8, max_samples=120)

Use = Callable[[LawDevice], LawDevice]


class KilledError(Exception):
    """Stands for what ends a process."""


class Kept:
    """Keeps every result, as records on disk do; ends after so many."""

    def __init__(self, ends_after: int | None = None) -> None:
        self.messages: list[str] = []
        self.n_told = 0
        self._ends_after = ends_after

    def phase(self, title: str, total: int) -> None:
        pass

    def message(self, text: str) -> None:
        self.messages.append(text)

    def measured(self, arch: Architecture, result: tuple[Measurement, ...] | Failure) -> None:
        self.n_told += 1
        if self.n_told == self._ends_after:
            raise KilledError

    repeated = measured


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.create("depthwise_separable", input_shape=(1, 16, 16), n_classes=4)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Let a law answer instead of a compiler and a board."""

    def install(device: LawDevice) -> LawDevice:
        monkeypatch.setattr(campaign, "measure_architecture", device)
        return device

    return install


def calibrated(space: SearchSpace, goal: Goal = GOAL, **kwargs: Any) -> TargetPredictors:
    return calibrate_within(Campaign(FormulaTarget(), space, seed=0, **kwargs), goal)


def without_stages(predictors: TargetPredictors) -> Any:
    return json.loads(json.dumps(predictors.predictors["latency_s"].to_dict()))


def test_a_law_without_noise_is_learned_and_proved_and_nothing_is_measured_twice(
    space: SearchSpace, use: Use
) -> None:
    device = use(LawDevice())
    observer = Kept()
    report = calibrated(space, observer=observer).report
    goal = report["goal"]
    assert goal["stopped"] == "reached"
    assert goal["lower_bound"] >= GOAL.share
    # so many hits would be rarer than 5 % if the share were below the wish
    assert goal["n_within"] / goal["n_held_out"] > GOAL.share
    assert report["n_fitted"] + report["n_held_out"] <= GOAL.max_samples
    n_repeats = 2 * 5  # five anchors, twice
    assert len(device.asked) == report["n_fitted"] + report["n_held_out"] + n_repeats
    assert len(set(device.asked)) == report["n_fitted"] + report["n_held_out"]
    assert [r["n_fitted"] for r in goal["rounds"]] == sorted(
        {r["n_fitted"] for r in goal["rounds"]}
    )
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_an_interrupted_calibration_ends_with_the_same_result(space: SearchSpace, use: Use) -> None:
    use(LawDevice(noise_std=0.02))
    uninterrupted = calibrated(space)
    device = use(LawDevice(noise_std=0.02))
    kept: list[Any] = []
    repeats: list[Any] = []
    original = device.__call__

    def recording(*args: Any, fresh: bool = False, **kwargs: Any) -> Any:
        result = original(*args, fresh=fresh, **kwargs)
        (repeats if fresh else kept).append(result)
        return result

    use(recording)  # type: ignore[arg-type]
    with pytest.raises(KilledError):
        calibrated(space, observer=Kept(ends_after=35))
    n_before = len(device.asked)
    assert n_before == 35
    resumed = calibrated(space, known=tuple(kept), repeats=tuple(repeats))
    assert resumed.report == uninterrupted.report
    assert without_stages(resumed) == without_stages(uninterrupted)
    n_all = resumed.report["n_fitted"] + resumed.report["n_held_out"] + 2 * 5
    assert len(device.asked) == n_all


def test_measurements_that_repeat_badly_end_it_at_the_noise_floor(
    space: SearchSpace, use: Use
) -> None:
    """A deviation of 20 % leaves three in four outside 5 %: no predictor gets 80 % inside."""
    use(LawDevice(noise_std=0.2))
    goal = Goal(within=0.05, share=0.8, max_samples=400)
    report = calibrated(space, goal).report
    assert report["goal"]["stopped"] == "noise_floor"
    assert report["n_fitted"] + report["n_held_out"] < 200
    # the median of ten differences estimates the floor, 0.6745 x 0.2, to about a third
    assert report["noise"]["floor"] == pytest.approx(0.135, rel=0.5)


def test_no_more_is_measured_than_allowed(space: SearchSpace, use: Use) -> None:
    use(LawDevice())
    goal = Goal(within=1e-6, share=0.5, max_samples=40)
    observer = Kept()
    report = calibrated(space, goal, observer=observer).report
    assert report["goal"]["stopped"] == "max_samples"
    assert report["n_fitted"] + report["n_held_out"] == 40
    assert report["goal"]["lower_bound"] < 0.5
    assert "no number of measurements is expected to do" in observer.messages[-1]
    assert report["goal"]["expected_more"] is None


def test_a_small_space_is_measured_whole(use: Use) -> None:
    choices = {
        "stem_width": [8], "width_multiplier": [1.0], "stride_plan": ["2-2"], "depth": [1],
        "width": [8, 12], "kernel": [3, 5, 7], "expansion": [1, 2, 3], "se": [0, 1],
        "activation": ["relu6"],
    }  # fmt: skip
    space = search_spaces.create(
        "early_exit", input_shape=(1, 8, 8), n_classes=4, n_stages=1, choices=choices
    )
    use(LawDevice())
    goal = Goal(within=1e-9, share=0.8, max_samples=120)
    report = calibrated(space, goal).report
    assert report["goal"]["stopped"] in ("whole_space", "reached")
    assert report["n_fitted"] + report["n_held_out"] <= 2 * 3 * 3 * 2


def test_a_share_that_so_few_can_never_prove_is_refused_at_once() -> None:
    # 72 without a miss prove 95 % at an error probability of 2.5 %, beside 12 to fit to
    assert 0.95**72 < 0.025 < 0.95**71
    with pytest.raises(ValueError, match="at least 84 architectures"):
        Goal(within=0.1, share=0.95, max_samples=83)
    Goal(within=0.1, share=0.95, max_samples=84)
