"""What every cost predictor must do, as a test class for pytest, and graphs to test with.

Subclass it, give it an unfitted predictor, and run pytest::

    class TestMyPredictor(CostPredictorTestCase):
        @classmethod
        def make_predictor(cls) -> CostPredictor:
            return MyPredictor()

Call ``pytest.register_assert_rewrite`` with this module's name in a ``conftest.py``
to see the values of a failed assertion.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

import search_spaces
from latency_predictors._types import CostPredictor, Graph, Prediction, UnknownWorkloadError
from latency_predictors.coverage import distinct_architectures
from search_spaces import Workload, bytes_moved, macs

N_FITTED, N_HELD_OUT = 40, 100
# Rounding, grown by the fit: the largest difference seen on 18 fits was 3e-15.
_SAME_RELATIVE = 1e-6
# Guessing the median is 92 % off on these graphs, a fit to their MACs alone 14 %.
_LEARNT_MAPE = 0.1

# seconds per call, per multiply-accumulate and per byte of each operator
_LATENCY_LAW = {
    "conv2d": (2e-6, 1e-10, 3e-11),
    "depthwise_conv2d": (3e-6, 4e-10, 1e-10),
    "linear": (1e-6, 2e-10, 0.0),
    "global_avg_pool": (1e-6, 0.0, 1e-10),
    "add": (5e-7, 0.0, 2e-11),
    "scale": (1e-6, 0.0, 5e-11),
}


@cache
def random_graphs(n: int, seed: int, size: int = 16) -> tuple[Graph, ...]:
    """Return ``n`` distinct networks of depthwise-separable blocks on ``(1, size, size)``."""
    space = search_spaces.create("depthwise_separable", input_shape=(1, size, size), n_classes=10)
    rng = np.random.default_rng(seed)
    return tuple(space.workloads(arch) for arch in distinct_architectures(space, n, rng))


def linear_latency_s(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Return latencies that are exactly a constant plus a sum over operators.

    ``5 us + sum over operators of (call + MACs / rate + bytes / bandwidth)``, every
    coefficient non-negative: 0.1 ms to 2 ms on `random_graphs`.
    """
    return np.array([5e-6 + sum(map(_operator_latency_s, graph)) for graph in graphs])


def _operator_latency_s(workload: Workload) -> float:
    per_call, per_mac, per_byte = _LATENCY_LAW[workload.op]
    return per_call + per_mac * macs(workload) + per_byte * bytes_moved(workload)


class CostPredictorTestCase:
    """The contract of `CostPredictor`; a subclass provides `make_predictor`."""

    @classmethod
    def make_predictor(cls) -> CostPredictor:
        """Return an unfitted predictor."""
        raise NotImplementedError("override make_predictor")

    @classmethod
    def cost(cls, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """Return the true costs, shape ``(n,)``; override it for another metric."""
        return linear_latency_s(graphs)

    @classmethod
    def fit(
        cls, graphs: Sequence[Graph], values: NDArray[np.float64], groups: Sequence[str] = ()
    ) -> CostPredictor:
        """Fit a new predictor; every graph is a group of its own unless told otherwise."""
        return cls.make_predictor().fit(
            graphs, values, groups or [f"g{i}" for i in range(len(graphs))]
        )

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> CostPredictor:
        """Return a predictor fitted to exact costs of `N_FITTED` graphs."""
        graphs = random_graphs(N_FITTED, seed=0)
        return cls.fit(graphs, cls.cost(graphs))

    @pytest.fixture(scope="class")
    @classmethod
    def held_out(cls) -> tuple[Graph, ...]:
        """Return graphs of the same space, few of them fitted."""
        return random_graphs(N_HELD_OUT, seed=1)

    def test_it_has_all_members_of_a_cost_predictor(self) -> None:
        """The protocol is met."""
        assert isinstance(self.make_predictor(), CostPredictor)

    def test_fit_returns_the_predictor(self) -> None:
        """So that making and fitting one is a single expression."""
        graphs = random_graphs(N_FITTED, seed=0)
        predictor = self.make_predictor()
        groups = [str(i) for i in range(len(graphs))]
        assert predictor.fit(graphs, self.cost(graphs), groups) is predictor

    def test_it_learns_from_few_graphs(
        self, fitted: CostPredictor, held_out: tuple[Graph, ...]
    ) -> None:
        """Costs without noise are predicted far better than a constant would."""
        error = np.abs(means(fitted.predict(held_out)) / self.cost(held_out) - 1)
        assert error.mean() < _LEARNT_MAPE

    def test_predictions_are_positive_and_inside_their_interval(
        self, fitted: CostPredictor, held_out: tuple[Graph, ...]
    ) -> None:
        """Every number is finite, and ``0 < low <= mean <= high``."""
        for p in fitted.predict(held_out):
            assert np.isfinite([p.mean, p.std, p.low, p.high]).all()
            assert 0 < p.low <= p.mean <= p.high
            assert p.std >= 0

    def test_the_unit_does_not_matter(self, held_out: tuple[Graph, ...]) -> None:
        """Ten times the values give ten times the predictions."""
        graphs = random_graphs(N_FITTED, seed=0)
        values = noisy(self.cost(graphs), seed=0)
        once = self.fit(graphs, values).predict(held_out)
        ten_times = self.fit(graphs, 10 * values).predict(held_out)
        assert_same([scaled(p, 10) for p in once], ten_times)

    def test_the_order_of_the_measurements_does_not_matter(
        self, held_out: tuple[Graph, ...]
    ) -> None:
        """Permuting graphs, values and groups together changes nothing."""
        graphs = random_graphs(N_FITTED, seed=0)
        values = noisy(self.cost(graphs), seed=0)
        order = np.random.default_rng(1).permutation(N_FITTED)
        permuted = self.fit(
            [graphs[i] for i in order], values[order], groups=[f"g{i}" for i in order]
        )
        assert_same(self.fit(graphs, values).predict(held_out), permuted.predict(held_out))

    def test_a_prediction_does_not_depend_on_its_neighbours(
        self, fitted: CostPredictor, held_out: tuple[Graph, ...]
    ) -> None:
        """One graph at a time gives what all at once give; none gives none."""
        one_by_one = [fitted.predict([graph])[0] for graph in held_out[:5]]
        assert_same(one_by_one, fitted.predict(held_out[:5]))
        assert fitted.predict([]) == []

    def test_graphs_it_was_fitted_to_are_in_its_domain(self, fitted: CostPredictor) -> None:
        """What was measured is no extrapolation."""
        assert all(p.in_domain for p in fitted.predict(random_graphs(N_FITTED, seed=0)))

    def test_graphs_of_another_size_are_outside_its_domain(self, fitted: CostPredictor) -> None:
        """Inputs of 64 times the area: the prediction says that it is an extrapolation."""
        assert not any(p.in_domain for p in fitted.predict(random_graphs(5, seed=0, size=128)))

    def test_an_operator_never_measured_raises_and_is_named(
        self, fitted: CostPredictor, held_out: tuple[Graph, ...]
    ) -> None:
        """It must not cost nothing."""
        unknown = Workload("grid_sample", (8, 4, 4), (8, 4, 4))
        with pytest.raises(UnknownWorkloadError, match="grid_sample"):
            fitted.predict([held_out[0], (*held_out[1], unknown)])

    @pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_value_that_no_measurement_can_give_is_refused(self, bad: float) -> None:
        """A cost is positive and finite."""
        graphs = random_graphs(N_FITTED, seed=0)
        values = self.cost(graphs)
        values[3] = bad
        with pytest.raises(ValueError, match="positive"):
            self.fit(graphs, values)


def noisy(values: NDArray[np.float64], seed: int, relative_std: float = 0.1) -> NDArray[np.float64]:
    """Multiply values by log-normal noise, as measurements scatter."""
    rng = np.random.default_rng(seed)
    return np.asarray(values * np.exp(relative_std * rng.standard_normal(len(values))))


def means(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """Return the predicted values, shape ``(n,)``."""
    return np.array([p.mean for p in predictions])


def scaled(p: Prediction, factor: float) -> Prediction:
    """Return a prediction in a unit ``factor`` times smaller."""
    return Prediction(p.mean * factor, p.std * factor, p.low * factor, p.high * factor, p.in_domain)


def assert_same(one: Sequence[Prediction], other: Sequence[Prediction]) -> None:
    """Compare predictions up to rounding."""
    assert [p.in_domain for p in one] == [p.in_domain for p in other]
    for name in ("mean", "std", "low", "high"):
        np.testing.assert_allclose(
            [getattr(p, name) for p in one],
            [getattr(p, name) for p in other],
            rtol=_SAME_RELATIVE,
            err_msg=name,
        )
