from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import CostPredictor, Graph
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.testing import CostPredictorTestCase
from search_spaces import n_params, peak_activation_bytes


class TestLatency(CostPredictorTestCase):
    @classmethod
    def make_predictor(cls) -> CostPredictor:
        return PriorResidualPredictor("latency_s")


class TestFlash(CostPredictorTestCase):
    @classmethod
    def make_predictor(cls) -> CostPredictor:
        return PriorResidualPredictor("flash_bytes")

    @classmethod
    def cost(cls, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """A runtime, then code and float32 constants of every operator."""
        return np.array([2000.0 + sum(300 + 4 * n_params(w) for w in g) for g in graphs])


class TestPeakRam(CostPredictorTestCase):
    @classmethod
    def make_predictor(cls) -> CostPredictor:
        return PriorResidualPredictor("peak_ram_bytes")

    @classmethod
    def cost(cls, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """A runtime's memory, and a fifth more than the two largest activations."""
        return np.array([1000.0 + 1.2 * peak_activation_bytes(graph) for graph in graphs])
