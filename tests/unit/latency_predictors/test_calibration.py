"""Calibration on a target whose latency is a known function of the graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import search_spaces
from latency_predictors import (
    CalibrationError,
    Campaign,
    Graph,
    NotMeasuredError,
    TargetPredictors,
    calibrate,
)
from latency_predictors.coverage import covering_architectures
from latency_predictors.fitting import fit_predictors
from latency_predictors.judging import judge
from latency_predictors.measured_architecture import CALIBRATION_ENERGY, measure_architecture
from latency_predictors.noise import N_ANCHORS
from latency_predictors.testing import linear_latency_s
from search_spaces import (
    Architecture,
    SearchSpace,
)
from targets import (
    Failure,
    Measurement,
    Target,
)
from targets.spec import MeterSpec
from tests.unit.latency_predictors.formula_target import QUICK, FormulaTarget

SAMPLES, HELD_OUT = 12, 6


def make_space(n_stages: int = 2, **choices: Any) -> SearchSpace:
    return search_spaces.create(
        "early_exit", input_shape=(1, 8, 8), n_classes=4, n_stages=n_stages, choices=choices
    )


def has_kernel_7(graph: Graph) -> bool:
    return any(w.kernel == (7, 7) for w in graph)


class Observed:
    """Keeps what calibration tells."""

    def __init__(self) -> None:
        self.results: dict[Architecture, tuple[Measurement, ...] | Failure] = {}
        self.repeats: dict[Architecture, tuple[Measurement, ...] | Failure] = {}
        self.phases: list[int] = []

    def phase(self, title: str, total: int) -> None:
        self.phases.append(total)

    def message(self, text: str) -> None:
        raise AssertionError(text)

    def measured(self, arch: Architecture, result: tuple[Measurement, ...] | Failure) -> None:
        assert arch not in self.results
        self.results[arch] = result

    def repeated(self, arch: Architecture, result: tuple[Measurement, ...] | Failure) -> None:
        assert arch not in self.repeats
        self.repeats[arch] = result


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return make_space()


@pytest.fixture(scope="module")
def calibrated(space: SearchSpace) -> tuple[TargetPredictors, Observed]:
    observed = Observed()
    target = FormulaTarget()
    assert isinstance(target, Target)
    predictors = calibrate(
        Campaign(target, space, seed=0, config=QUICK, observer=observed),
        samples=SAMPLES,
        held_out=HELD_OUT,
    )
    return predictors, observed


def test_every_architecture_is_measured_once_and_told_in_order(
    calibrated: tuple[TargetPredictors, Observed],
) -> None:
    _, observed = calibrated
    n = SAMPLES + HELD_OUT
    assert len(observed.results) == n
    assert observed.phases == [n, N_ANCHORS]


def test_held_out_architectures_are_not_among_those_that_cover_the_space(
    space: SearchSpace, calibrated: tuple[TargetPredictors, Observed]
) -> None:
    _, observed = calibrated
    covering = set(covering_architectures(space, SAMPLES, np.random.default_rng(0)))
    assert len(covering) == SAMPLES
    assert covering <= set(observed.results)
    assert len(set(observed.results) - covering) == HELD_OUT


def test_the_order_of_measuring_is_not_that_of_choosing(
    space: SearchSpace, calibrated: tuple[TargetPredictors, Observed]
) -> None:
    _, observed = calibrated
    covering = covering_architectures(space, SAMPLES, np.random.default_rng(0))
    assert [a for a in observed.results if a in set(covering)] != covering
    assert list(observed.results)[:SAMPLES] != covering


def test_each_stage_is_measured_by_itself(
    space: SearchSpace, calibrated: tuple[TargetPredictors, Observed]
) -> None:
    _, observed = calibrated
    numbers = set()
    for arch, results in observed.results.items():
        stages = space.stages(arch)
        assert isinstance(results, tuple)
        expected = [float(linear_latency_s([stage.workloads])[0]) for stage in stages]
        assert [m.latency_median_s for m in results] == pytest.approx(expected)
        numbers.add(len(stages))
    assert numbers == {1, 2}


def test_the_report_counts_and_agrees_with_the_formula(
    calibrated: tuple[TargetPredictors, Observed],
) -> None:
    predictors, _ = calibrated
    report = predictors.report
    held_out = report.pop("held_out")
    assert report == {
        "space": "early_exit",
        "n_fitted": SAMPLES,
        "n_held_out": HELD_OUT,
        "n_failures": 0,
        "n_disturbed": 0,
        "flags": {"clock_unpinned": SAMPLES + HELD_OUT},
        "energies": "modelled",
        "seed": 0,
        # a formula answers with the very same samples, which tell nothing of its scatter
        "anchors": [],
        "noise": None,
    }
    report["held_out"] = held_out
    # twelve architectures for a law of 19 coefficients: enough to order six, and to 15 %
    assert held_out["latency_s"]["n"] == HELD_OUT
    assert held_out["latency_s"]["mape"] < 0.15
    assert held_out["latency_s"]["spearman"] > 0.8
    assert held_out["latency_s"]["mape"] < held_out["macs_baseline"]["mape"]
    assert held_out["flash_mape"] < 0.05
    assert held_out["peak_ram_mape"] < 0.05
    assert 0 <= held_out["interval_coverage"] <= 1


def test_the_report_is_that_of_predictors_fitted_without_the_held_out(
    space: SearchSpace, calibrated: tuple[TargetPredictors, Observed]
) -> None:
    fitted, observed = calibrated
    target = FormulaTarget()
    covering = covering_architectures(space, SAMPLES, np.random.default_rng(0))
    others = [a for a in observed.results if a not in set(covering)]
    fit_on, judge_on = (
        [measure_architecture(target, space, a, seed=0, config=QUICK) for a in archs]
        for archs in (covering, others)
    )
    assert not any(isinstance(m, Failure) for m in (*fit_on, *judge_on))
    predictors = fit_predictors(target.spec, fit_on)  # type: ignore[arg-type]
    again = judge(predictors, fit_on, judge_on, target.spec.energy_model)  # type: ignore[arg-type]
    reported = fitted.report["held_out"]
    for key in ("latency_s", "energy_j", "macs_baseline"):
        # the order of the architectures only moves the rounding
        assert again[key] == pytest.approx(reported[key], rel=1e-6)
    assert again["interval_coverage"] == reported["interval_coverage"]


def test_the_predictors_returned_know_the_held_out_architectures_too(
    space: SearchSpace, calibrated: tuple[TargetPredictors, Observed]
) -> None:
    predictors, observed = calibrated
    graphs = [tuple(s.workloads for s in space.stages(a)) for a in observed.results]
    assert all(c.latency_s.in_domain for c in predictors.predict(graphs))


def test_a_calibration_can_be_repeated(
    space: SearchSpace, calibrated: tuple[TargetPredictors, Observed]
) -> None:
    observed = Observed()
    again = calibrate(
        Campaign(FormulaTarget(), space, seed=0, config=QUICK, observer=observed),
        samples=SAMPLES,
        held_out=HELD_OUT,
    )
    assert list(observed.results) == list(calibrated[1].results)
    assert again.report == calibrated[0].report


def test_failures_are_counted_told_and_left_out(space: SearchSpace) -> None:
    observed = Observed()
    target = FormulaTarget(refuses=has_kernel_7)
    predictors = calibrate(
        Campaign(target, space, seed=1, config=QUICK, observer=observed), samples=20, held_out=2
    )
    impossible = [a for a in observed.results if has_kernel_7(space.workloads(a))]
    assert 0 < len(impossible) < 12
    failed = [a for a, result in observed.results.items() if isinstance(result, Failure)]
    assert failed == impossible
    assert predictors.report["n_failures"] == len(impossible)
    counted = predictors.report["n_fitted"] + predictors.report["n_held_out"]
    assert counted == len(observed.results) - len(impossible)


def test_what_was_disturbed_is_counted_and_left_out(space: SearchSpace) -> None:
    observed = Observed()
    # off by a factor that would spoil any fit
    predictors = calibrate(
        Campaign(
            FormulaTarget(
                latency_s=lambda g: float(linear_latency_s([g])[0]) * (5 if has_kernel_7(g) else 1),
                disturbs=has_kernel_7,
            ),
            space,
            seed=1,
            config=QUICK,
            observer=observed,
        ),
        samples=20,
        held_out=4,
    )
    disturbed = [a for a in observed.results if has_kernel_7(space.workloads(a))]
    report = predictors.report
    assert report["n_disturbed"] == len(disturbed) > 0
    assert report["flags"]["drifting"] == len(disturbed)
    assert report["n_fitted"] + report["n_held_out"] == len(observed.results) - len(disturbed)


def test_a_board_that_always_throttles_is_not_calibrated_on(space: SearchSpace) -> None:
    target = FormulaTarget(disturbs=lambda graph: True)
    with pytest.raises(CalibrationError, match="9 were throttled or drifting"):
        calibrate(Campaign(target, space, seed=0, config=QUICK), samples=9, held_out=0)


def test_too_few_measurements_say_how_many_and_why(space: SearchSpace) -> None:
    target = FormulaTarget(refuses=lambda graph: True)
    with pytest.raises(
        CalibrationError,
        match=r"only 0 of 9 architectures.*'formula'; 8 are needed.*no kernel of 7",
    ):
        calibrate(Campaign(target, space, seed=0, config=QUICK), samples=9, held_out=0)


def test_a_target_with_emulated_timings_is_refused_before_any_work(space: SearchSpace) -> None:
    target = FormulaTarget()
    target.spec = target.spec.model_copy(update={"provenance": "emulated"})
    observed = Observed()
    with pytest.raises(NotMeasuredError, match="'formula': emulated timings never calibrate"):
        calibrate(
            Campaign(target, space, seed=0, config=QUICK, observer=observed), samples=8, held_out=0
        )
    assert not observed.results


def test_emulated_timings_among_others_are_refused(space: SearchSpace) -> None:
    # as from a recording, which answers with the provenance of what was recorded
    target = FormulaTarget(provenance="emulated")
    with pytest.raises(NotMeasuredError, match="emulated timings never calibrate"):
        calibrate(Campaign(target, space, seed=0, config=QUICK), samples=8, held_out=0)


def test_a_space_smaller_than_asked_for_is_measured_whole() -> None:
    fixed = {
        "stem_width": [8], "width_multiplier": [1.0], "stride_plan": ["2-2"], "depth": [1],
        "width": [8], "kernel": [3, 5], "expansion": [1, 2, 3], "se": [0, 1],
        "activation": ["relu6"],
    }  # fmt: skip
    space = make_space(n_stages=1, **fixed)
    observed = Observed()
    predictors = calibrate(
        Campaign(FormulaTarget(), space, seed=0, config=QUICK, observer=observed),
        samples=9,
        held_out=9,
    )
    assert len(observed.results) == 2 * 3 * 2
    assert (predictors.report["n_fitted"], predictors.report["n_held_out"]) == (9, 3)


def test_without_held_out_architectures_nothing_is_claimed(space: SearchSpace) -> None:
    predictors = calibrate(
        Campaign(FormulaTarget(), space, seed=0, config=QUICK), samples=8, held_out=0
    )
    assert predictors.report["n_held_out"] == 0
    assert "held_out" not in predictors.report


def test_a_space_whose_costs_are_all_equal_has_no_rank_correlation(tmp_path: Path) -> None:
    """Only activations differ, and the device does not mind them."""
    fixed = {
        "stem_width": [8], "width_multiplier": [1.0], "stride_plan": ["2-1-1-1-1"], "depth": [1],
        "width": [8], "kernel": [3], "expansion": [2], "se": [0], "exit_after": [0],
    }  # fmt: skip
    space = make_space(n_stages=4, **fixed)
    predictors = calibrate(
        Campaign(FormulaTarget(), space, seed=0, config=QUICK), samples=9, held_out=4
    )
    held_out = predictors.report["held_out"]
    assert held_out["latency_s"]["mape"] < 1e-3
    assert held_out["macs_baseline"]["mape"] < 1e-3
    assert held_out["latency_s"]["spearman"] is None
    assert json.loads(json.dumps(predictors.report, allow_nan=False)) == predictors.report
    predictors.save(tmp_path / "predictor.json")
    assert TargetPredictors.load(tmp_path / "predictor.json").report == predictors.report


def test_energies_that_meters_measured_are_learned_and_called_measured(space: SearchSpace) -> None:
    """Every inference takes 3 W: what is learned of energies is that of latencies, times 3."""
    target = FormulaTarget(meters=[MeterSpec(kind="rapl")])
    predictors = calibrate(Campaign(target, space, seed=0, config=QUICK), samples=12, held_out=4)
    assert target.energy_configs == {CALIBRATION_ENERGY}
    assert (predictors.energy_provenance, predictors.report["energies"]) == ("measured",) * 2
    graphs = [[s.workloads for s in space.stages(space.sample(np.random.default_rng(1)))]]
    (costs,) = predictors.predict(graphs)
    assert costs.energy_j.mean == pytest.approx(3 * costs.latency_s.mean, rel=1e-3)
    agreement = predictors.report["held_out"]["energy_j"]
    # power is constant, and the direct model of the energy errs as that of the latency does
    assert agreement["mape"] == pytest.approx(
        predictors.report["held_out"]["latency_s"]["mape"], rel=0.01
    )


def test_energies_without_a_meter_are_those_of_the_model_and_called_modelled(
    calibrated: tuple[TargetPredictors, Observed], space: SearchSpace
) -> None:
    """The model of the formula is 1 W times the latency."""
    predictors, _ = calibrated
    assert (predictors.energy_provenance, predictors.report["energies"]) == ("modelled",) * 2
    graphs = [[s.workloads for s in space.stages(space.sample(np.random.default_rng(1)))]]
    (costs,) = predictors.predict(graphs)
    assert costs.energy_j.mean == pytest.approx(costs.latency_s.mean, rel=1e-3)
