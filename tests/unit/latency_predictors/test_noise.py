"""The noise floor and the drift test on measurements whose law is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import search_spaces
from latency_predictors.noise import Anchor, choose_anchors, drift, noise_floor
from search_spaces import SearchSpace
from tests.unit.latency_predictors.formula_target import FormulaTarget
from tests.unit.latency_predictors.law_device import LawDevice


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.create("depthwise_separable", input_shape=(1, 16, 16), n_classes=4)


def anchors_of(space: SearchSpace, latencies_s: NDArray[np.float64]) -> list[Anchor]:
    arch = space.sample(np.random.default_rng(0))
    return [Anchor(arch, tuple(row.tolist())) for row in latencies_s]


def test_the_floor_of_three_known_pairs(space: SearchSpace) -> None:
    anchors = anchors_of(space, np.array([[1.0, 1.02], [2.0, 2.0 * 1.05], [3.0, 3.0]]))
    found = noise_floor(anchors)
    assert found is not None
    assert found.n_pairs == 3
    assert found.repeat_difference == pytest.approx(0.02)
    assert found.floor == pytest.approx(1.02 ** (1 / 2**0.5) - 1)


def test_many_repeats_find_the_deviation_they_were_drawn_from(space: SearchSpace) -> None:
    rng = np.random.default_rng(1)
    found = noise_floor(anchors_of(space, np.exp(0.03 * rng.standard_normal((4000, 2)))))
    assert found is not None
    # 4,000 squares estimate a deviation to about 1 %, a median to 2 %
    assert found.std == pytest.approx(0.03, rel=0.06)
    # the median of |x| of a normal law is 0.6745 of its deviation
    assert found.floor == pytest.approx(0.6745 * 0.03, rel=0.06)
    # P(|x| < log 1.05) at a deviation of 0.03: 2 Phi(1.626) - 1
    assert found.share_within(0.05) == pytest.approx(0.896, abs=0.02)


def test_two_anchors_tell_nothing(space: SearchSpace) -> None:
    anchors = anchors_of(space, np.array([[1.0, 1.1], [1.0, 1.2]]))
    assert noise_floor(anchors) is None
    assert drift(anchors, [1.0, 1.0]) is None


def test_an_unchanged_board_is_seldom_called_changed(space: SearchSpace) -> None:
    rng = np.random.default_rng(2)
    n_trials = 300
    n_alarms = 0
    for _ in range(n_trials):
        measured = np.exp(0.05 * rng.standard_normal((5, 3)))
        found = drift(anchors_of(space, measured[:, :2]), measured[:, 2].tolist())
        assert found is not None
        n_alarms += found.drifted
    # one in a hundred at most; nine are four standard deviations above the three expected
    assert n_alarms <= 9


def test_a_common_shift_far_beyond_the_noise_is_drift(space: SearchSpace) -> None:
    rng = np.random.default_rng(3)
    measured = np.exp(0.005 * rng.standard_normal((5, 2)))
    found = drift(anchors_of(space, measured), [1.1] * 5)
    assert found is not None
    assert found.drifted
    assert found.change == pytest.approx(0.1, abs=0.01)


def test_one_architecture_that_changed_alone_is_drift_too(space: SearchSpace) -> None:
    rng = np.random.default_rng(4)
    measured = np.exp(0.005 * rng.standard_normal((5, 2)))
    found = drift(anchors_of(space, measured), [1.0, 1.0, 1.2, 1.0, 1.0])
    assert found is not None
    assert found.drifted


def test_a_change_too_small_to_matter_is_no_drift_however_sure(space: SearchSpace) -> None:
    measured = np.array([[1.0, 1.0 + 1e-6]] * 5)
    found = drift(anchors_of(space, measured), [1.01] * 5)
    assert found is not None
    assert found.spread > found.limit
    assert not found.drifted


def test_anchors_spread_from_the_fastest_to_the_slowest(space: SearchSpace) -> None:
    rng = np.random.default_rng(5)
    results = [LawDevice()(FormulaTarget(), space, space.sample(rng)) for _ in range(21)]
    measured = [m for m in results if not hasattr(m, "stage")]
    ordered = sorted(m.latency_s for m in measured)  # type: ignore[union-attr]
    chosen = choose_anchors(measured)  # type: ignore[arg-type]
    assert [m.latency_s for m in chosen] == [ordered[i] for i in (0, 5, 10, 15, 20)]


def test_anchors_survive_json_and_damage_is_refused(space: SearchSpace) -> None:
    (anchor,) = anchors_of(space, np.array([[1.0, 1.5]]))
    assert Anchor.from_dict(anchor.to_dict(), space) == anchor
    with pytest.raises(ValueError, match="latency_s"):
        Anchor.from_dict({**anchor.to_dict(), "latency_s": [1.0, -1.0]}, space)
