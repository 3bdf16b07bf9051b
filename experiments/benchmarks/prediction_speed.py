"""How many architectures a second the predictors take, from encodings and one by one.

    python experiments/benchmarks/prediction_speed.py [--architectures 100000] [--n 60,900]
        [--json OUT]

Draws encodings of both search spaces and times, on one thread: features of every stage alone;
latency of the whole path with its interval; all four costs; and candidates as a sampler asks
for them, with energy and latency as objectives and limits on both, on flash and on the life of
a battery. Cold: the first call, which
builds every operator it has not seen. Warm: later calls. Beside them, the same from
`Architecture` objects, each as the graphs of its stages. Times are processor time, so that
other load counts little; costs follow a law with noise: how fast a predictor is does not
depend on what it learned, but on how much (``--n`` architectures).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

import search_spaces
from hwnas.candidate_cost_model import CandidateCostModel
from hwnas.config import ConstraintsConfig
from hwnas.costs import CostModel
from hwnas.objectives import constraints_of, objectives_of
from hwnas.product_config import ProductConfig
from latency_predictors import Graph, TargetPredictors
from latency_predictors.energy_predictor import EnergyPredictor
from latency_predictors.features import GraphFeatures, graph_features
from latency_predictors.observed import observed_features
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.space_features import SpaceFeatures
from latency_predictors.target_predictors import METRICS
from search_spaces import SearchSpace
from search_spaces.encoding import decode, sample_encodings
from targets import EnergyModel

if TYPE_CHECKING:
    from search_spaces.encoding import Encodings

_INPUT_SHAPE, _N_CLASSES = (3, 32, 32), 10
_ONE_BY_ONE = 2000
_WARM_CALLS = 3
_ENERGY_MODEL = EnergyModel(
    static_power_w=1.0,
    energy_per_mac_j=1e-12,
    energy_per_byte_j=1e-11,
    relative_uncertainty=0.3,
    source="made up",
)
_PRODUCT = ProductConfig.model_validate(
    {
        "interval_s": 1.0,
        "sleep_power_mw": 1.0,
        "battery": {"capacity_mah": 100.0, "voltage_v": 3.0},
    }
)
_LIMITS = constraints_of(
    ConstraintsConfig(max_latency_ms=1, max_energy_mj=1, max_flash_kib=64, min_battery_days=1),
    _PRODUCT,
)
_NOISE = 0.02
_SEED = 0


@dataclass(frozen=True)
class Speed:
    """Architectures a second."""

    space: str
    fitted: int
    task: str
    cold: float
    warm: float
    one_by_one: float


def learned(space: SearchSpace, n: int) -> TargetPredictors:
    """Return predictors fitted to the stages of n architectures, whose costs follow a law."""
    rng = np.random.default_rng(_SEED)
    graphs, owners = SpaceFeatures(space).of(sample_encodings(space, n, rng))
    groups = [str(owner) for owner in owners]
    observed = observed_features(graphs, None)
    costs = {name: _cost(graphs, rng) for name in METRICS}
    fitted = {
        name: PriorResidualPredictor(name).fit_observed(observed, costs[name], groups)
        for name in METRICS
        if name != "energy_j"
    }
    energy = EnergyPredictor(fitted["latency_s"]).fit_observed(
        observed, costs["energy_j"], costs["latency_s"], groups
    )
    return TargetPredictors("law", fitted, energy, "modelled", {})


def _cost(graphs: GraphFeatures, rng: np.random.Generator) -> np.ndarray:
    """Return calls, work and traffic with random weights per kind, bent, and with noise."""
    weights = rng.uniform(0.5, 2.0, (len(graphs.kinds), 4)) * [1e-6, 1e-10, 3e-11, 0.0]
    bent = 1 + 0.1 * np.sin(np.log(graphs.peak_bytes))
    noise = np.exp(_NOISE * rng.standard_normal(len(graphs)))
    return np.asarray(np.einsum("nkc,kc->n", graphs.sums, weights) * bent * noise)


def speeds(space: SearchSpace, fitted: int, n: int) -> Iterator[Speed]:
    """Time every task on n architectures, with predictors of so many fitted ones."""
    rng = np.random.default_rng(_SEED + 1)
    encodings = sample_encodings(space, n, rng)
    architectures = decode(space, encodings[:_ONE_BY_ONE])
    predictors = learned(space, fitted)

    def graphs() -> list[tuple[Graph, ...]]:
        return [tuple(s.workloads for s in space.stages(arch)) for arch in architectures]

    def flat() -> list[Graph]:
        return [graph for stages in graphs() for graph in stages]

    def costs(*metrics: str) -> Callable[[Encodings], object]:
        return partial(predictors.predict_encodings, SpaceFeatures(space), metrics=metrics)

    def judged() -> object:
        cost_model = CostModel(space, predictors, _ENERGY_MODEL, _PRODUCT)
        return [costs.violations(_LIMITS) for costs in cost_model.predict(architectures)]

    # each call makes a predictor that has not seen the space yet
    tasks: dict[str, tuple[Callable[[], Callable[[Encodings], object]], Callable[[], object]]] = {
        "features": (lambda: SpaceFeatures(space).of, lambda: graph_features(flat())),
        "latency": (
            lambda: costs("latency_s"),
            lambda: predictors.predictors["latency_s"].predict(flat()),
        ),
        "all costs": (lambda: costs(*METRICS), lambda: predictors.predict(graphs())),
        "candidates": (lambda: _candidates(space, predictors), judged),
    }
    for task, (fresh, from_graphs) in tasks.items():
        from_encodings = fresh()
        cold_s = _seconds(partial(from_encodings, encodings))
        warm_s = min(_seconds(partial(from_encodings, encodings)) for _ in range(_WARM_CALLS))
        one_by_one = len(architectures) / min(_seconds(from_graphs) for _ in range(_WARM_CALLS))
        yield Speed(space.name, fitted, task, n / cold_s, n / warm_s, one_by_one)


def _candidates(space: SearchSpace, predictors: TargetPredictors) -> CandidateCostModel:
    cost_model = CostModel(space, predictors, _ENERGY_MODEL, _PRODUCT)
    return CandidateCostModel(cost_model, objectives_of(["accuracy", "latency", "energy"]), _LIMITS)


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Print a row per space, number of fitted architectures and task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", type=int, default=100_000)
    parser.add_argument("--n", default="60,900", help="architectures fitted, with commas")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    print(f"{'space':21} {'fitted':>6} {'task':10} {'one by one':>10} {'cold':>16} {'warm':>16}")
    rows = []
    with threadpool_limits(1):
        for name in search_spaces.names():
            space = search_spaces.create(name, input_shape=_INPUT_SHAPE, n_classes=_N_CLASSES)
            for fitted in map(int, options.n.split(",")):
                for row in speeds(space, fitted, options.architectures):
                    rows.append(row)
                    cold, warm = (
                        f"{speed:9,.0f} x{speed / row.one_by_one:5.0f}"
                        for speed in (row.cold, row.warm)
                    )
                    print(
                        f"{row.space:21} {row.fitted:6} {row.task:10} {row.one_by_one:10,.0f} "
                        f"{cold:>16} {warm:>16}",
                        flush=True,
                    )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
