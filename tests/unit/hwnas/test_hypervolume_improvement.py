"""Expected hypervolume improvement against closed forms, Monte Carlo and volumes."""

import moocore
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from hwnas.samplers.hypervolume_improvement import ImprovableRegion, greatest

Array = NDArray[np.float64]


def front(seed: int, size: int, objectives: int) -> Array:
    return np.random.default_rng(seed).random((size, objectives))


def hypervolume(points: Array) -> float:
    return float(moocore.hypervolume(points, ref=np.ones(points.shape[1])))


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 30])
def test_a_known_point_improves_by_what_the_hypervolume_gains(objectives: int, size: int) -> None:
    known = front(size, size, objectives)
    region = ImprovableRegion(known, np.ones(objectives))
    asked = front(99, 20, objectives) * 1.2 - 0.1
    gains = region.expected_improvement(asked, np.zeros_like(asked))
    before = hypervolume(known) if size else 0.0
    for point, gain in zip(asked, gains, strict=True):
        inside = np.vstack([known, point[None]])
        inside = inside[np.all(inside < 1, axis=1)]
        after = hypervolume(inside) if len(inside) else 0.0
        # sums of a few hundred products of numbers below 1
        assert gain == pytest.approx(after - before, abs=1e-9)


def test_one_objective_without_a_front_is_the_expected_improvement() -> None:
    region = ImprovableRegion(np.empty((0, 1)), np.ones(1))
    mean, std = 0.8, 0.3
    z = (1 - mean) / std
    expected = (1 - mean) * norm.cdf(z) + std * norm.pdf(z)
    (gain,) = region.expected_improvement(np.array([[mean]]), np.array([[std]]))
    assert gain == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("objectives", [2, 3])
def test_an_unsure_point_improves_by_the_mean_over_what_it_may_be(objectives: int) -> None:
    known = front(3, 8, objectives)
    region = ImprovableRegion(known, np.ones(objectives))
    rng = np.random.default_rng(0)
    mean, std = np.full(objectives, 0.3), np.linspace(0.05, 0.2, objectives)
    (gain,) = region.expected_improvement(mean[None], std[None])
    drawn = rng.normal(mean, std, (4000, objectives))
    before = hypervolume(known)
    gains = [hypervolume(np.vstack([known, point])) - before for point in drawn]
    # five standard errors of the Monte Carlo mean
    assert gain == pytest.approx(np.mean(gains), abs=5 * np.std(gains) / np.sqrt(len(gains)))


@pytest.mark.parametrize("objectives", [3, 5])
@pytest.mark.parametrize("decimals", [1, 8])
def test_boxes_are_disjoint_and_fill_what_is_not_dominated(decimals: int, objectives: int) -> None:
    # with one decimal, many coordinates are equal
    known = front(5, 12, objectives).round(decimals)
    region = ImprovableRegion(known, np.ones(objectives))
    asked = np.random.default_rng(1).random((500, objectives))
    held = np.all((region.lower <= asked[:, None]) & (asked[:, None] < region.upper), axis=2)
    dominated = np.any(np.all(known <= asked[:, None], axis=2), axis=1)
    assert np.array_equal(held.sum(axis=1), (~dominated).astype(int))


@pytest.mark.parametrize("objectives", [2, 3, 4, 5])
def test_points_that_are_reached_later_leave_what_they_would_have_left_at_once(
    objectives: int,
) -> None:
    known, reference = front(6, 20, objectives), np.ones(objectives)
    region = ImprovableRegion(known[:10], reference)
    later = region.with_reached(known[10:13]).with_reached(known[13:])
    together = ImprovableRegion(known, reference)
    means = front(7, 50, objectives)
    stds = np.full_like(means, 0.1)
    wanted = together.expected_improvement(means, stds)
    assert later.expected_improvement(means, stds) == pytest.approx(wanted, abs=1e-12)
    # the region that points were added to is as it was
    assert region.expected_improvement(means, stds).sum() > wanted.sum()


def test_of_a_long_front_of_many_objectives_the_greatest_points_count() -> None:
    drawn = np.random.default_rng(8).exponential(size=(300, 5))
    known = drawn / drawn.sum(axis=1, keepdims=True)  # a simplex: none dominates another
    kept = greatest(known, np.ones(5), 64)
    assert len(kept) == 64
    assert hypervolume(kept) > 0.97 * hypervolume(known)
    some, all_64 = (ImprovableRegion(points, np.ones(5)) for points in (known, kept))
    assert np.array_equal(some.lower, all_64.lower)


def test_each_point_that_counts_adds_most_to_those_before_it() -> None:
    known = front(9, 40, 4)
    known = known[moocore.is_nondominated(known)]
    chosen: list[int] = []
    for n in range(1, 8):
        # by looking at all of them every time
        gains = [hypervolume(known[[*chosen, i]]) for i in range(len(known))]
        chosen.append(int(np.argmax(gains)))
        wanted = known[sorted(chosen)]
        assert np.array_equal(greatest(known, np.ones(4), n), wanted)
    assert np.array_equal(greatest(known, np.ones(4), len(known)), known)


def test_what_lies_beyond_the_reference_improves_nothing() -> None:
    region = ImprovableRegion(front(1, 5, 2), np.ones(2))
    gains = region.expected_improvement(np.array([[0.1, 1.5]]), np.array([[0.0, 0.0]]))
    assert gains.tolist() == [0.0]
