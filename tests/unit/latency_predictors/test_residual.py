"""The Gaussian process against textbook formulas and plain refits."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel

from latency_predictors import residual as residual_module
from latency_predictors.residual import Inputs, Residual

Array = NDArray[np.float64]
N = 60


def inputs(n: int, seed: int) -> Inputs:
    rng = np.random.default_rng(seed)
    return Inputs(rng.normal(size=(n, 2)), (rng.normal(size=(n, 3)), rng.normal(size=(n, 2))))


def law(known: Inputs) -> Array:
    return np.asarray(0.2 * np.sin(1.5 * known.smooth[0][:, 0]) + 0.05 * known.linear[:, 1])


def fitted(n: int = N, noise: float = 0.01) -> tuple[Residual, Inputs, Array]:
    known = inputs(n, 0)
    values = law(known) + noise * np.random.default_rng(1).normal(size=n)
    return Residual.fit(known, values, np.arange(n))[0], known, values


def test_a_smooth_law_is_learned_and_its_noise_is_known() -> None:
    residual, _, _ = fitted(200)
    asked = inputs(300, 5)
    mean, _ = residual.predict(asked)
    # the law varies by 0.13
    assert np.sqrt(np.mean((mean - law(asked)) ** 2)) < 0.02
    assert residual.noise_std == pytest.approx(0.01, rel=0.3)
    assert residual.trust > 0.95


def test_noise_alone_is_not_trusted() -> None:
    known = inputs(N, 0)
    noise = 0.1 * np.random.default_rng(3).normal(size=N)
    residual, _, _ = Residual.fit(known, noise, np.arange(N))
    mean, _ = residual.predict(inputs(200, 7))
    assert np.abs(mean).mean() < 0.02


def test_means_and_deviations_are_those_of_the_textbook() -> None:
    residual, known, values = fitted()
    state = residual.to_dict()
    variances = state["variances"]

    def joined(items: Inputs) -> Array:
        parts = (items.linear, *items.smooth)
        whole = zip(parts, state["center"], state["scale"], strict=True)
        return np.concatenate([(p - np.array(c)) * np.array(s) for p, c, s in whole], axis=1)

    class Part(Kernel):  # type: ignore[misc]
        """One of scikit-learn's kernels on some of the columns."""

        def __init__(self, kernel: Kernel, columns: slice) -> None:
            self.kernel, self.columns = kernel, columns

        def __call__(self, x: Array, y: Array | None = None, eval_gradient: bool = False) -> Array:
            other = None if y is None else y[:, self.columns]
            return np.asarray(self.kernel(x[:, self.columns], other))

        def diag(self, x: Array) -> Array:
            return np.asarray(self.kernel.diag(x[:, self.columns]))

        def is_stationary(self) -> bool:
            return False

    kernel = Part(ConstantKernel(variances[0]) * DotProduct(0.0), slice(0, 2))
    for index, columns in enumerate((slice(2, 5), slice(5, 7))):
        for length, variance in zip((1.0, 3.0), variances[1 + 2 * index :], strict=False):
            kernel = kernel + Part(ConstantKernel(variance) * RBF(length), columns)
    process = GaussianProcessRegressor(kernel, alpha=variances[-1] + 1e-8, optimizer=None)
    process.fit(joined(known), values)
    asked = inputs(50, 9)
    mean, std = process.predict(joined(asked), return_std=True)
    found_mean, found_std = residual.predict(asked)
    # kernels that explain less than 1e-8 are left out
    np.testing.assert_allclose(found_mean, residual.trust * mean, atol=1e-4)
    np.testing.assert_allclose(found_std, std, atol=1e-3)


def test_what_was_left_out_in_closed_form_is_what_a_refit_without_it_predicts() -> None:
    known, groups = inputs(24, 0), np.repeat(np.arange(12), 2)
    values = law(known)
    residual, means, stds = Residual.fit(known, values, groups)
    state = residual.to_dict()
    for group in (0, 5):
        kept = np.flatnonzero(groups != group)
        order = {tuple(row): i for i, row in enumerate(known.smooth[0].tolist())}
        center, scale = np.array(state["center"][1]), np.array(state["scale"][1])
        rows = [order_of(order, p, center, scale) for p in state["points"][1]]
        inside = [i for i, row in enumerate(rows) if row in kept]
        points = [[part[i] for i in inside] for part in state["points"]]
        without = {**state, "points": points, "residuals": [state["residuals"][i] for i in inside]}
        asked = known[np.flatnonzero(groups == group)]
        mean, std = Residual.from_dict(without, (2, 3, 2)).predict(asked)
        np.testing.assert_allclose(means[groups == group], mean, atol=1e-8)
        np.testing.assert_allclose(stds[groups == group], std, atol=1e-6)


def order_of(
    order: dict[tuple[float, ...], int], point: list[float], center: Array, scale: Array
) -> int:
    original = np.array(point) / scale + center
    return min(order.items(), key=lambda item: float(np.abs(item[0] - original).max()))[1]


def test_far_from_everything_a_correction_has_bounds() -> None:
    residual, _, _ = fitted()
    far = Inputs(np.full((1, 2), 1e6), (np.zeros((1, 3)), np.zeros((1, 2))))
    mean, std = residual.predict(far)
    assert abs(mean[0]) <= 1
    assert std[0] <= 1


def test_a_feature_that_never_varied_tells_nothing() -> None:
    known = inputs(N, 0)
    constant = Inputs(known.linear, (known.smooth[0], np.zeros((N, 2))))
    residual, _, _ = Residual.fit(constant, law(known), np.arange(N))
    asked = inputs(10, 9)
    other = Inputs(asked.linear, (asked.smooth[0], np.full((10, 2), 5.0)))
    same = Inputs(asked.linear, (asked.smooth[0], np.zeros((10, 2))))
    np.testing.assert_array_equal(residual.predict(other)[0], residual.predict(same)[0])


def test_a_process_of_very_many_is_that_of_a_spread_out_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(residual_module, "_LARGEST_PROCESS", 200)
    known = inputs(300, 0)
    residual, means, stds = Residual.fit(known, law(known), np.arange(300))
    assert len(residual.to_dict()["residuals"]) == 200
    assert np.sqrt(np.mean((means - law(known)) ** 2)) < 0.02
    assert (stds >= 0).all()


def test_what_is_read_back_predicts_the_same() -> None:
    residual, _, _ = fitted()
    again = Residual.from_dict(json.loads(json.dumps(residual.to_dict())), (2, 3, 2))
    asked = inputs(20, 3)
    np.testing.assert_array_equal(residual.predict(asked), again.predict(asked))
