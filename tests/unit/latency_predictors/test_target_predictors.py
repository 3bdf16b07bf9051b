"""All costs of a target: aggregated over stages, saved and loaded."""

import json
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import search_spaces
from latency_predictors import Prediction, TargetPredictors, UnknownWorkloadError
from latency_predictors._types import Predictions
from latency_predictors.energy_predictor import EnergyPredictor
from latency_predictors.path_costs import largest, total
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.space_features import SpaceFeatures
from latency_predictors.tail import TailRatio
from latency_predictors.target_predictors import METRICS
from latency_predictors.testing import linear_latency_s, noisy, random_graphs
from search_spaces import Workload, n_params, peak_activation_bytes
from search_spaces.encoding import decode, sample_encodings

GRAPHS = random_graphs(20, seed=0)
STAGES = [GRAPHS[0:2], GRAPHS[2:3], GRAPHS[3:6]]
REPORT = {"space": "depthwise_separable", "n_fitted": 20, "held_out": {"flash_mape": 0.125}}


@pytest.fixture(scope="module")
def predictors() -> TargetPredictors:
    values = {
        "latency_s": noisy(linear_latency_s(GRAPHS), 0),
        "energy_j": noisy(3 * linear_latency_s(GRAPHS), 1),
        "flash_bytes": np.array([2000.0 + 4 * sum(map(n_params, g)) for g in GRAPHS]),
        "peak_ram_bytes": np.array([1.2 * peak_activation_bytes(g) for g in GRAPHS]),
    }
    groups = [str(i) for i in range(len(GRAPHS))]
    fitted = {
        m: PriorResidualPredictor(m).fit(GRAPHS, values[m], groups)
        for m in METRICS
        if m != "energy_j"
    }
    energy = EnergyPredictor(fitted["latency_s"]).fit(
        GRAPHS, values["energy_j"], values["latency_s"], groups
    )
    return TargetPredictors("board", fitted, energy, "measured", REPORT, idle_power_w=0.5)


@pytest.fixture
def saved(predictors: TargetPredictors, tmp_path: Path) -> Path:
    path = tmp_path / "predictor.json"
    predictors.save(path)
    return path


def part(mean: float, low: float, high: float, in_domain: bool = True) -> Prediction:
    return Prediction(mean, (high - low) / 4, low, high, in_domain)


def test_latency_and_flash_add_over_stages_and_ram_is_the_largest(
    predictors: TargetPredictors,
) -> None:
    by_metric = {
        m: [predictors.predictors[m].predict(stages) for stages in STAGES] for m in METRICS
    }
    for i, costs in enumerate(predictors.predict(STAGES)):
        latency, energy, flash, ram = (by_metric[m][i] for m in METRICS)
        assert len(costs.stage_latency_s) == len(latency)
        for name in ("mean", "std", "low", "high"):
            # predicting one stage alone rounds differently from predicting all in one matrix
            wholes = (costs.latency_s, costs.energy_j, costs.flash_bytes)
            for whole, parts in zip(wholes, (latency, energy, flash), strict=True):
                expected = sum(getattr(p, name) for p in parts)
                assert getattr(whole, name) == pytest.approx(expected, rel=1e-9)
        for name in ("mean", "low", "high"):
            expected = max(getattr(p, name) for p in ram)
            assert getattr(costs.peak_ram_bytes, name) == pytest.approx(expected, rel=1e-9)


def test_what_idle_power_draws_is_told_from_the_rest(predictors: TargetPredictors) -> None:
    for costs in predictors.predict(STAGES):
        assert costs.idle_energy_j is not None
        # half a watt for as long as it takes, of the three watts that were learned
        assert costs.idle_energy_j == pytest.approx(0.5 * costs.latency_s.mean)
        assert costs.net_energy_j == pytest.approx(costs.energy_j.mean - costs.idle_energy_j)
        assert costs.idle_energy_j == pytest.approx(costs.energy_j.mean / 6, rel=0.2)


def test_where_no_meter_measured_idle_power_nothing_is_said_of_it(
    predictors: TargetPredictors, saved: Path
) -> None:
    document = json.loads(saved.read_text()) | {"idle_power_w": None}
    saved.write_text(json.dumps(document))
    (costs,) = TargetPredictors.load(saved).predict(STAGES[:1])
    assert (costs.idle_energy_j, costs.net_energy_j) == (None, None)


def columns(parts: Sequence[Prediction]) -> Predictions:
    return Predictions(*(np.array(column) for column in zip(*map(astuple, parts), strict=True)))


def test_a_path_is_in_the_domain_only_if_all_its_stages_are() -> None:
    inside, outside = part(1, 0.5, 2), part(9, 8, 10, in_domain=False)
    stages, first = columns([inside, inside, inside, outside]), np.array([0, 2])
    for of_paths in (total, largest):
        assert of_paths(stages, first).in_domain.tolist() == [True, False]


def test_the_upper_end_of_the_largest_is_that_of_the_least_certain_part() -> None:
    """A limit on RAM binds on every stage, also on one that is smaller on average."""
    certain, uncertain = part(100, 99, 101), part(90, 60, 150)
    stages = columns([certain, certain, uncertain, uncertain])
    paths = largest(stages, np.array([0, 1, 3])).to_list()
    assert paths == [certain, Prediction(100, uncertain.std, 99, 150, True), uncertain]


SPACE = search_spaces.create(
    "early_exit", input_shape=(1, 16, 16), n_classes=10, choices={"exit_after": [1, 0]}
)


@pytest.mark.parametrize("n", [1, 60])
def test_costs_of_encodings_are_those_of_their_architectures(
    predictors: TargetPredictors, n: int
) -> None:
    encodings = sample_encodings(SPACE, n, np.random.default_rng(0))
    architectures = decode(SPACE, encodings)
    graphs = [tuple(stage.workloads for stage in SPACE.stages(arch)) for arch in architectures]
    one_by_one = predictors.predict(graphs)
    costs = predictors.predict_encodings(SpaceFeatures(SPACE), encodings)
    for metric in METRICS:
        wanted = columns([getattr(cost, metric) for cost in one_by_one])
        for name in ("mean", "std", "low", "high", "in_domain"):
            # sums of kinds in another order round differently
            np.testing.assert_allclose(
                getattr(costs[metric], name), getattr(wanted, name), rtol=1e-9
            )


def test_only_the_metrics_asked_for_are_predicted(predictors: TargetPredictors) -> None:
    encodings = sample_encodings(SPACE, 3, np.random.default_rng(1))
    costs = predictors.predict_encodings(SpaceFeatures(SPACE), encodings, metrics=["flash_bytes"])
    assert list(costs) == ["flash_bytes"]


def test_no_encodings_give_no_costs(predictors: TargetPredictors) -> None:
    none = sample_encodings(SPACE, 0, np.random.default_rng(2))
    costs = predictors.predict_encodings(SpaceFeatures(SPACE), none)
    assert [len(costs[metric].mean) for metric in METRICS] == [0] * len(METRICS)


def test_a_clock_for_predictors_of_one_clock_is_refused(predictors: TargetPredictors) -> None:
    encodings = sample_encodings(SPACE, 3, np.random.default_rng(3))
    with pytest.raises(ValueError, match=r"board: fitted to one clock, got 0\.5"):
        predictors.predict_encodings(SpaceFeatures(SPACE), encodings, relative_clock=0.5)


def test_no_architectures_give_no_costs(predictors: TargetPredictors) -> None:
    assert predictors.predict([]) == []


def test_an_unknown_operator_in_any_stage_raises(predictors: TargetPredictors) -> None:
    unknown = (Workload("grid_sample", (8, 4, 4), (8, 4, 4)),)
    with pytest.raises(UnknownWorkloadError, match="grid_sample"):
        predictors.predict([(GRAPHS[0], unknown)])


def test_saved_predictors_predict_exactly_the_same(
    predictors: TargetPredictors, saved: Path
) -> None:
    read = TargetPredictors.load(saved)
    assert read.predict(STAGES) == predictors.predict(STAGES)
    assert read.idle_power_w == 0.5
    assert (read.target, read.report) == ("board", REPORT)


def test_the_tail_of_latencies_is_saved_and_may_be_unknown(
    predictors: TargetPredictors,
) -> None:
    document = predictors.to_dict()
    tail = TailRatio(1.5, 1.2, 2.5, 0.2)
    read = TargetPredictors.from_dict({**document, "tail": tail.to_dict()})
    assert read.tail == tail
    assert read.to_dict()["tail"] == tail.to_dict()
    # as files are that were written before it was learned
    del document["tail"]
    assert TargetPredictors.from_dict(document).tail is None


def test_the_file_is_strict_json(predictors: TargetPredictors, saved: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(saved.read_text(), parse_constant=refuse)
    broken = TargetPredictors.load(saved)
    broken.report = {"spearman": float("nan")}
    with pytest.raises(ValueError, match="JSON"):
        broken.save(saved)
    assert TargetPredictors.load(saved).report == REPORT


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.json: no such predictor.*hwnas calibrate"):
        TargetPredictors.load(tmp_path / "none.json")


def test_another_schema_version_is_refused_with_both_versions(saved: Path) -> None:
    document = json.loads(saved.read_text()) | {"schema_version": 99}
    saved.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"schema_version 99.*reads 3.*Calibrate again"):
        TargetPredictors.load(saved)


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in document.items() if k != key}


def with_state(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    predictors = document["predictors"]
    changed = {**predictors["latency_s"], **changes}
    return {**document, "predictors": {**predictors, "latency_s": changed}}


def with_prior(document: dict[str, Any], coefficients: Any) -> dict[str, Any]:
    member = document["predictors"]["latency_s"]["prior"][0]
    return with_state(document, prior=[{**member, "coefficients": coefficients}])


def with_residual(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    residual = document["predictors"]["latency_s"]["residual"]
    return with_state(document, residual={**residual, **changes})


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda d: without(d, "target"), id="no target"),
        pytest.param(lambda d: without(d, "schema_version"), id="no version"),
        pytest.param(lambda d: {**d, "predictors": {}}, id="no predictors"),
        pytest.param(lambda d: {**d, "predictors": [1]}, id="list of predictors"),
        pytest.param(
            lambda d: {**d, "predictors": without(d["predictors"], "flash_bytes")},
            id="a metric is missing",
        ),
        pytest.param(lambda d: {**d, "report": None}, id="no report"),
        pytest.param(lambda d: [d], id="a list"),
        pytest.param(lambda d: with_state(d, metric="joy"), id="unknown metric"),
        pytest.param(lambda d: with_state(d, metric="flash_bytes"), id="another metric"),
        pytest.param(lambda d: with_state(d, errors={"quantile": "wide"}), id="text for a number"),
        pytest.param(lambda d: with_prior(d, [[1.0], [2.0, 3.0]]), id="ragged array"),
        pytest.param(lambda d: with_prior(d, ["a"]), id="text array"),
        pytest.param(lambda d: with_prior(d, [1.0]), id="short prior"),
        pytest.param(lambda d: with_state(d, prior=[]), id="no prior"),
        pytest.param(lambda d: with_residual(d, points=[[[1.0]], [[1.0]]]), id="short features"),
        pytest.param(lambda d: with_residual(d, variances=[]), id="no kernel"),
        pytest.param(lambda d: with_residual(d, residuals=[]), id="no training values"),
        pytest.param(lambda d: with_state(d, kinds={}), id="no operators"),
        pytest.param(lambda d: with_state(d, lowest=[0.0]), id="short range"),
        pytest.param(lambda d: {**d, "idle_power_w": "little"}, id="text for idle power"),
    ],
)
def test_damaged_content_gives_one_line_with_the_file(saved: Path, damage: Any) -> None:
    saved.write_text(json.dumps(damage(json.loads(saved.read_text()))))
    with pytest.raises(ValueError, match=r"predictor\.json: damaged predictor .*Calibrate again"):
        TargetPredictors.load(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"null", b"[" * 100_000])
def test_what_is_not_json_gives_one_line_with_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "predictor.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"predictor\.json: damaged predictor") as caught:
        TargetPredictors.load(path)
    assert "\n" not in str(caught.value)


def test_every_truncation_of_a_file_is_noticed(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    for end in np.linspace(0, len(content) - 1, 30, dtype=int):
        torn = tmp_path / "torn.json"
        torn.write_bytes(content[:end])
        with pytest.raises(ValueError, match="damaged predictor"):
            TargetPredictors.load(torn)
