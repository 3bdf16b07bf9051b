"""A calibration that starts from the predictors of other targets, through their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.calibrating import calibrate
from hwnas.calibration_sources import load_sources
from hwnas.config import SpaceConfig
from hwnas.errors import UserError
from hwnas.predictor_store import PREDICTOR_FILE, SpaceDescription, load_predictors
from latency_predictors import Graph, MeasuredArchitecture, TargetPredictors, fit_predictors
from latency_predictors.coverage import distinct_architectures
from search_spaces import macs, n_params, peak_activation_bytes
from targets import MeasureConfig, Measurement, TargetSpec, load_spec

SPACE = SpaceDescription(SpaceConfig(name="depthwise_separable"), (1, 16, 16), 4)
OTHER_SPACE = SpaceDescription(SpaceConfig(name="depthwise_separable"), (1, 8, 8), 4)
# what a multiply-accumulate of a depthwise convolution takes, beside that of any other
DEPTHWISE = {"quick": 1.0, "slow": 8.0}


def latency_s(graph: Graph, depthwise: float) -> float:
    rates = (depthwise if w.op == "depthwise_conv2d" else 1.0 for w in graph)
    return sum(1e-6 + 1e-10 * rate * macs(w) for rate, w in zip(rates, graph, strict=True))


def measured(n: int, seed: int, depthwise: float, factor: float = 1) -> list[MeasuredArchitecture]:
    space = SPACE.create()
    found = []
    for arch in distinct_architectures(space, n, np.random.default_rng(seed)):
        graph = space.workloads(arch)
        measurement = Measurement(
            target="formula",
            model_sha256=arch.arch_id,
            artifact_sha256=arch.arch_id,
            latency_s=(factor * latency_s(graph, depthwise),),
            flash_bytes=sum(map(n_params, graph)),
            peak_ram_bytes=peak_activation_bytes(graph),
            config=MeasureConfig(),
            provenance="measured",
            measured_at="2026-01-31T12:00:00+00:00",
        )
        found.append(MeasuredArchitecture(arch, (graph,), (measurement,)))
    return found


def spec(name: str) -> TargetSpec:
    return load_spec("host").model_copy(update={"name": name})


def store(root: Path, predictors: TargetPredictors, space: SpaceDescription = SPACE) -> Path:
    folder = root / predictors.target / "depthwise_separable-0"
    space.save(folder)
    predictors.save(folder / PREDICTOR_FILE)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, depthwise in DEPTHWISE.items():
        store(tmp_path, fit_predictors(spec(name), measured(40, 1, depthwise)))
    return tmp_path


def errors(
    predictors: TargetPredictors, asked: Sequence[MeasuredArchitecture]
) -> NDArray[np.float64]:
    costs = predictors.predict([item.graphs for item in asked])
    return np.abs([c.latency_s.mean / m.latency_s - 1 for c, m in zip(costs, asked, strict=True)])


def test_eight_measurements_of_a_new_target_tell_more_with_those_of_others(root: Path) -> None:
    sources = load_sources(root, ["quick", "slow"], SPACE)
    known, asked = measured(8, 2, 4.0, factor=3), measured(100, 3, 4.0, factor=3)
    started = fit_predictors(spec("new"), known, sources=sources)
    alone = fit_predictors(spec("new"), known)
    assert errors(started, asked).mean() < errors(alone, asked).mean()
    # bytes are those of the sources: nothing but what these are off, 1 %
    flash = [c.flash_bytes.mean for c in started.predict([item.graphs for item in asked])]
    np.testing.assert_allclose(
        flash, [m.flash_bytes for item in asked for m in item.measurements], rtol=0.05
    )


def test_what_started_from_others_is_stored_without_need_of_them(root: Path) -> None:
    sources = load_sources(root, ["quick", "slow"], SPACE)
    fitted = fit_predictors(spec("new"), measured(8, 2, 4.0), sources=sources)
    folder = store(root, fitted)
    for name in DEPTHWISE:
        (root / name / "depthwise_separable-0" / PREDICTOR_FILE).unlink()
    loaded = load_predictors(folder)
    assert loaded is not None
    graphs = [item.graphs for item in measured(20, 3, 4.0)]
    assert loaded.predict(graphs) == fitted.predict(graphs)


def test_a_target_without_predictors_of_the_space_is_named_with_what_to_do(root: Path) -> None:
    quick = fit_predictors(spec("quick"), measured(8, 1, 1.0))
    store(root, quick, OTHER_SPACE)
    with pytest.raises(UserError, match=r"--from quick: .*Run: hwnas calibrate quick with"):
        load_sources(root, ["slow", "quick"], SPACE)


def test_what_itself_started_from_others_is_no_source(root: Path) -> None:
    sources = load_sources(root, ["quick", "slow"], SPACE)
    store(root, fit_predictors(spec("new"), measured(8, 2, 4.0), sources=sources))
    with pytest.raises(UserError, match="--from new: its latency_s started from other targets"):
        load_sources(root, ["new"], SPACE)


def test_a_goal_and_sources_are_refused_together(root: Path) -> None:
    with pytest.raises(UserError, match="leave --within out"):
        calibrate(
            "host",
            "depthwise_separable",
            input_shape=SPACE.input_shape,
            n_classes=SPACE.n_classes,
            within=0.1,
            sources=["quick"],
            predictors=root,
        )
