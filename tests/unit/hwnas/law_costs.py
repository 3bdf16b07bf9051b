"""A cost model of a small early-exit space whose true costs follow a law."""

from __future__ import annotations

import numpy as np

import search_spaces
from hwnas.costs import CostModel
from hwnas.product_config import ProductConfig
from latency_predictors import TargetPredictors
from latency_predictors.energy_predictor import EnergyPredictor
from latency_predictors.observed import observed_features
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.space_features import SpaceFeatures
from latency_predictors.tail import TailRatio
from search_spaces import SearchSpace
from search_spaces.encoding import sample_encodings
from targets import EnergyModel

ENERGY_MODEL = EnergyModel(
    static_power_w=2.0,
    energy_per_mac_j=1e-9,
    energy_per_byte_j=1e-10,
    relative_uncertainty=0.3,
    source="made up",
)


def law_space() -> SearchSpace:
    """Networks of one or two stages."""
    return search_spaces.create("early_exit", input_shape=(1, 8, 8), n_classes=4, n_stages=2)


def law_costs(
    space: SearchSpace, product: ProductConfig | None = None, tail: TailRatio | None = None
) -> CostModel:
    """Predictors fitted to noisy costs: intervals are wide, energies come from a model."""
    rng = np.random.default_rng(0)
    graphs, owners = SpaceFeatures(space).of(sample_encodings(space, 30, rng))
    observed = observed_features(graphs, None)
    size = graphs.sums.sum(axis=1)

    def noisy(values: np.ndarray) -> np.ndarray:
        return np.asarray(values * np.exp(0.05 * rng.standard_normal(len(values))))

    latencies_s = noisy(1e-4 + 1e-8 * size[:, 1])
    energies_j = noisy(2 * latencies_s)
    groups = [str(owner) for owner in owners]
    values = {
        "latency_s": latencies_s,
        "flash_bytes": noisy(1000 + 4 * size[:, 3]),
        "peak_ram_bytes": noisy(graphs.peak_bytes),
    }
    fitted = {
        name: PriorResidualPredictor(name).fit_observed(observed, own, groups)
        for name, own in values.items()
    }
    energy = EnergyPredictor(fitted["latency_s"])
    energy.fit_observed(observed, energies_j, latencies_s, groups)
    predictors = TargetPredictors("law", fitted, energy, "modelled", {}, tail=tail)
    return CostModel(space, predictors, ENERGY_MODEL, product)
