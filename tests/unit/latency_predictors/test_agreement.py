"""How well predictions agree with measurements: against values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from latency_predictors import agreement
from latency_predictors.metrics import mean_absolute_percentage_error, share_within

MEASURED = np.array([100.0, 200.0, 400.0, 800.0])
# off by 4 %, 8 %, 50 % and 0 %
PREDICTED = np.array([104.0, 184.0, 600.0, 800.0])


def test_errors_are_those_computed_by_hand() -> None:
    result = agreement(MEASURED, PREDICTED)
    assert result.n == 4
    assert result.mape == pytest.approx((0.04 + 0.08 + 0.5 + 0.0) / 4)
    assert result.within_5 == 2 / 4
    assert result.within_10 == 3 / 4


def test_rank_correlations_are_those_computed_by_hand() -> None:
    predicted = np.array([1.0, 3.0, 2.0, 4.0])
    # ranks 1 2 3 4 against 1 3 2 4: rho = 1 - 6 sum d^2 / (n (n^2 - 1)) = 1 - 12 / 60
    # one discordant pair of six: tau = (5 - 1) / 6
    result = agreement(MEASURED, predicted)
    assert result.spearman == pytest.approx(0.8)
    assert result.kendall == pytest.approx(4 / 6)


def test_rank_correlations_with_ties_are_those_of_scipy() -> None:
    measured = np.array([1.0, 2.0, 2.0, 3.0, 5.0, 5.0])
    predicted = np.array([2.0, 1.0, 3.0, 3.0, 4.0, 6.0])
    result = agreement(measured, predicted)
    ranks = stats.rankdata(measured), stats.rankdata(predicted)
    assert result.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
    # tau-b: 11 concordant and 1 discordant pairs, 2 tied in one and 1 in the other of 15
    assert result.kendall == pytest.approx((11 - 1) / math.sqrt((15 - 2) * (15 - 1)))


def test_a_prediction_exactly_at_the_tolerance_counts_as_within() -> None:
    measured = np.array([0.003, 0.7, 100.0])
    assert share_within(measured, measured * 1.05, 0.05) == 1.0
    assert share_within(measured, measured * 1.0501, 0.05) == 0.0


@pytest.mark.parametrize("constant", ["measured", "predicted"])
def test_a_constant_side_has_no_rank_correlation(constant: str) -> None:
    flat = np.full(4, 2.0)
    pair = (flat, PREDICTED) if constant == "measured" else (MEASURED, flat)
    result = agreement(*pair)
    assert result.spearman is None
    assert result.kendall is None


def test_one_pair_has_an_error_but_no_rank_correlation() -> None:
    result = agreement(np.array([2.0]), np.array([3.0]))
    assert result.mape == 0.5
    assert result.spearman is None


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_measured_value_that_is_not_positive_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        mean_absolute_percentage_error(np.array([1.0, bad]), np.array([1.0, 1.0]))


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4,\).*\(3,\)"):
        agreement(MEASURED, PREDICTED[:3])


pairs = st.lists(
    st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)), min_size=1, max_size=20
).map(np.array)


@given(pairs=pairs, unit=st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(pairs: NDArray[np.float64], unit: float) -> None:
    measured, predicted = pairs.T
    one, other = (
        mean_absolute_percentage_error(measured, predicted),
        mean_absolute_percentage_error(unit * measured, unit * predicted),
    )
    # cancellation in (p - m) / m loses digits relative to 1, not relative to the result
    assert one == pytest.approx(other, rel=1e-9, abs=1e-12)
