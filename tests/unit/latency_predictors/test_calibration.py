"""Calibration on a target whose latency is a known function of the graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

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
    n_params,
    peak_activation_bytes,
    workloads_from_onnx,
)
from targets import (
    Artifact,
    EnergyConfig,
    EnergyMeasurement,
    EnergyModel,
    EnergyObserver,
    Failure,
    Interval,
    MeasureConfig,
    Measurement,
    Provenance,
    Target,
    TargetSpec,
)
from targets.spec import MeterSpec

SAMPLES, HELD_OUT = 12, 6
QUICK = MeasureConfig(warmup_s=0.0, min_samples=3, max_samples=3, min_time_s=0.0)


class FormulaTarget:
    """A device whose costs are formulas of the operators in the ONNX graph it is given.

    Args:
        latency_s: Latency of a graph.
        refuses: Which graphs its compiler cannot do.
        provenance: Of its measurements.
        disturbs: In which graphs it drifts.
        meters: Its power meters.
    """

    def __init__(
        self,
        latency_s: Callable[[Graph], float] = lambda graph: float(linear_latency_s([graph])[0]),
        refuses: Callable[[Graph], bool] = lambda graph: False,
        provenance: Provenance = "measured",
        disturbs: Callable[[Graph], bool] = lambda graph: False,
        meters: Sequence[MeterSpec] = (),
    ) -> None:
        self.energy_configs: set[EnergyConfig] = set()
        self._disturbs = disturbs
        self._provenance = provenance
        self._latency_s = latency_s
        self._refuses = refuses
        self._graphs: dict[str, Graph] = {}
        energy = EnergyModel(
            static_power_w=1.0,
            energy_per_mac_j=0.0,
            energy_per_byte_j=0.0,
            relative_uncertainty=0.5,
            source="made up",
        )
        self.spec = TargetSpec(
            name="formula",
            description="A formula",
            backend="formula",
            energy_model=energy,
            meters=tuple(meters),
        )
        self.name = self.spec.name
        self.fingerprint = self.spec.fingerprint

    def compile(self, model: onnx.ModelProto) -> Artifact | Failure:
        content = model.SerializeToString()
        sha256 = hashlib.sha256(content).hexdigest()
        graph = workloads_from_onnx(model)
        if self._refuses(graph):
            return Failure(self.name, "compile", "the formula has no kernel of 7", sha256)
        self._graphs[sha256] = graph
        return Artifact(
            target=self.name,
            path=Path("nowhere"),
            sha256=sha256,
            model_sha256=sha256,
            flash_bytes=flash_bytes(graph),
            peak_ram_bytes=peak_activation_bytes(graph),
            compile_s=0.0,
            parity_max_abs_error=0.0,
            input_shapes=(),
        )

    def measure(
        self, artifact: Artifact, config: MeasureConfig = QUICK, *, fresh: bool = False
    ) -> Measurement | Failure:
        graph = self._graphs[artifact.sha256]
        latency_s = self._latency_s(graph)
        return Measurement(
            target=self.name,
            model_sha256=artifact.model_sha256,
            artifact_sha256=artifact.sha256,
            latency_s=(0.9 * latency_s, latency_s, 1.3 * latency_s),
            flash_bytes=artifact.flash_bytes,
            peak_ram_bytes=artifact.peak_ram_bytes,
            config=config,
            provenance=self._provenance,
            flags=("clock_unpinned", "drifting") if self._disturbs(graph) else ("clock_unpinned",),
        )

    def measure_energy(
        self,
        artifacts: Sequence[Artifact],
        config: EnergyConfig = EnergyConfig(),
        *,
        fresh: bool = False,
        observer: EnergyObserver | None = None,
    ) -> list[EnergyMeasurement | Failure]:
        """Every inference takes 3 W while it lasts, and 1 W of that also when idle."""
        self.energy_configs.add(config)
        latency_s = [self._latency_s(self._graphs[a.sha256]) for a in artifacts]
        powers = [Interval(w, 0.9 * w, 1.1 * w) for w in (1.0, 3.0)]
        return [
            EnergyMeasurement(
                target=self.name,
                model_sha256=artifact.model_sha256,
                artifact_sha256=artifact.sha256,
                gross_j=Interval(3 * t, 2.9 * t, 3.1 * t),
                net_j=Interval(2 * t, 1.9 * t, 2.1 * t),
                net_refused=None,
                idle_power_w=powers[0],
                active_power_w=powers[1],
                peak_power_w=4.0,
                peak_bandwidth_hz=1e3,
                trials=(),
                sustained=(),
                meters=(),
                config=config,
                provenance=self._provenance,
            )
            for artifact, t in zip(artifacts, latency_s, strict=True)
        ]

    def run(
        self, artifact: Artifact, inputs: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], ...] | Failure:
        return Failure(self.name, "run", "a formula computes no outputs", artifact.model_sha256)

    def close(self) -> None:
        self._graphs.clear()

    def __enter__(self) -> FormulaTarget:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def flash_bytes(graph: Graph) -> int:
    return 2000 + sum(100 + 4 * n_params(w) for w in graph)


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
    assert agreement["mape"] == pytest.approx(predictors.report["held_out"]["latency_s"]["mape"])


def test_energies_without_a_meter_are_those_of_the_model_and_called_modelled(
    calibrated: tuple[TargetPredictors, Observed], space: SearchSpace
) -> None:
    """The model of the formula is 1 W times the latency."""
    predictors, _ = calibrated
    assert (predictors.energy_provenance, predictors.report["energies"]) == ("modelled",) * 2
    graphs = [[s.workloads for s in space.stages(space.sample(np.random.default_rng(1)))]]
    (costs,) = predictors.predict(graphs)
    assert costs.energy_j.mean == pytest.approx(costs.latency_s.mean, rel=1e-3)
