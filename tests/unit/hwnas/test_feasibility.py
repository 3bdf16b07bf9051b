"""Architectures that meet limits are found however rare, and fairly; what cannot be is named."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare

from hwnas.candidate_cost_model import CandidateCostModel
from hwnas.config import ConstraintsConfig
from hwnas.errors import UserError
from hwnas.feasibility import FeasiblePool, find_feasible
from hwnas.level_search import Limits, Violations
from hwnas.objectives import Constraint, constraints_of, objectives_of
from search_spaces import Architecture
from tests.unit.hwnas.law_costs import law_costs, law_space

SUM = Constraint("max_sum", "sum", 10.0, "", 1.0)
COUNT = Constraint("min_count", "count", 10.0, "d", 1.0, is_minimum=True)


class Digits:
    """A space of numbers: d dimensions of ``base`` values each, all of them active."""

    name = "digits"

    def __init__(self, d: int, base: int) -> None:
        self.dimensions = {f"x{i:02}": tuple(range(base)) for i in range(d)}

    def canonicalize(self, choices: dict[str, int]) -> Architecture:
        return Architecture(self.name, tuple(sorted(choices.items())))


def found(
    space: Digits, violations: Violations, limits: Sequence[Constraint], n: int, seed: int = 0
) -> FeasiblePool:
    return find_feasible(space, violations, limits, n, np.random.default_rng(seed))  # type: ignore[arg-type]


def digits(pool: FeasiblePool) -> np.ndarray:
    return np.array([[value for _, value in arch.choices] for arch in pool.architectures])


def sum_at_most(bound: float) -> Violations:
    return lambda rows: (rows.sum(axis=1) / bound - 1)[:, None]


@pytest.mark.parametrize("n", [5, 1000])
def test_of_a_small_space_everything_is_known(n: int) -> None:
    space = Digits(6, 3)
    pool = found(space, sum_at_most(2), [SUM], n)
    brute = [x for x in product(range(3), repeat=6) if sum(x) <= 2]
    assert len(pool.architectures) == min(n, len(brute))
    assert set(map(tuple, digits(pool).tolist())) <= set(brute)
    assert pool.share == pytest.approx(len(brute) / 3**6)
    assert pool.n_examined == 3**6


@pytest.mark.parametrize("most", [4, 3, 2])
def test_one_in_a_million_is_found_and_its_share_estimated(most: int) -> None:
    # at most so many ones among 24 digits of 0 and 1
    exact = sum(comb(24, k) for k in range(most + 1)) / 2**24
    for seed in range(3):
        pool = found(Digits(24, 2), sum_at_most(most), [SUM], 200, seed)
        assert digits(pool).sum(axis=1).max() <= most
        # the share is good to about a factor of 1.3 (one deviation) here
        assert exact / 2 < pool.share < 2 * exact
        assert pool.n_examined < 200_000


def test_what_is_rare_is_found_whole_where_all_of_it_is_wanted() -> None:
    # 1 + 24 + 276 of 2^24
    pool = found(Digits(24, 2), sum_at_most(2), [SUM], 1000)
    assert len(pool.architectures) == 1 + 24 + 276


def test_a_few_of_a_huge_space_are_found_in_both_of_its_corners() -> None:
    def violations(rows: np.ndarray) -> np.ndarray:
        # digits of 0 to 4, all but 2 at most at one end
        total = rows.sum(axis=1)
        return np.asarray(np.minimum(total, 4 * 25 - total) / 2 - 1)[:, None]

    # in each corner, two steps or fewer among 25 digits: combinations with repetition
    exact = 2 * comb(27, 2)
    pool = found(Digits(25, 5), violations, [SUM], 1000)
    totals = digits(pool).sum(axis=1)
    assert set(totals.tolist()) == {0, 1, 2, 98, 99, 100}
    assert 0.9 * exact < len(pool.architectures) <= exact
    assert exact / 5**25 / 4 < pool.share < 4 * exact / 5**25


def test_what_lies_off_the_way_of_the_levels_is_found_from_what_came_nearest() -> None:
    """A slope that leads to all zeros; what meets the limit is two large changes from there."""
    base, d = 40, 12

    def violations(rows: np.ndarray) -> np.ndarray:
        rest = rows[:, 2:].sum(axis=1)
        is_met = (rows[:, :2] == base - 1).all(axis=1) & (rest <= 1)
        return np.where(is_met, 0.0, 1.0 + rows.sum(axis=1))[:, None]

    pool = found(Digits(d, base), violations, [SUM], 100)
    feasible = [(base - 1, base - 1, *rest) for rest in np.eye(d - 2, dtype=int).tolist()]
    feasible.append((base - 1, base - 1, *[0] * (d - 2)))
    assert sorted(map(tuple, digits(pool).tolist())) == sorted(feasible)
    assert pool.n_sampled == 0
    assert pool.share == pytest.approx(len(feasible) / base**d)


def test_rare_architectures_are_drawn_as_evenly_as_by_chance() -> None:
    """Two far corners, one three times as large as the other, both with free digits."""
    space = Digits(20, 4)

    def violations(rows: np.ndarray) -> np.ndarray:
        # the first ten digits all 0 or all 3; for the latter the 11th must not be 0
        low = rows[:, :10].sum(axis=1)
        high = (3 - rows[:, :10]).sum(axis=1) + 3 * (rows[:, 10] == 0)
        return np.asarray(np.minimum(low, high), dtype=np.float64)[:, None]

    highs, eleventh = [], []
    for seed in range(5):
        rows = digits(found(space, violations, [SUM], 400, seed))
        assert np.all((rows[:, :10] == 0).all(axis=1) | (rows[:, :10] == 3).all(axis=1))
        highs.append(float(np.mean(rows[:, 0] == 3)))
        eleventh.append(np.bincount(rows[:, -1], minlength=4))
    # 3/7 of what is feasible; populations descend from some hundred members
    assert 0.2 < np.mean(highs) < 0.65
    assert min(highs) > 0
    # a digit that no limit concerns stays uniform: far from significant
    assert chisquare(np.sum(eleventh, axis=0)).pvalue > 1e-3


def test_what_was_sampled_comes_first_and_as_it_was_drawn() -> None:
    space = Digits(20, 4)
    # about a tenth: sampled and searched ones are both needed
    bound = 25.0
    pool = found(space, sum_at_most(bound), [SUM], 1000)
    assert 50 < pool.n_sampled < 400
    assert len(pool.architectures) == 1000
    rng = np.random.default_rng(0)
    drawn = rng.integers([4] * 20, size=(2000, 20), dtype=np.intp)
    kept = drawn[drawn.sum(axis=1) <= bound]
    assert digits(pool)[: pool.n_sampled].tolist() == kept.tolist()


def test_the_same_seed_finds_the_same() -> None:
    pools = [found(Digits(24, 2), sum_at_most(3), [SUM], 50, seed) for seed in (1, 1, 2)]
    assert pools[0] == pools[1]
    assert pools[0].architectures != pools[2].architectures


def test_without_limits_a_random_sample_is_the_pool() -> None:
    pool = found(Digits(20, 4), lambda rows: np.empty((len(rows), 0)), [], 300)
    assert pool.n_sampled == len(pool.architectures) == 300
    assert pool.share == 1


def test_a_limit_out_of_reach_is_named_with_the_nearest_value() -> None:
    def violations(rows: np.ndarray) -> np.ndarray:
        # at least 12 of 10 wanted at most; the count is easy to meet
        return np.stack([(12 + rows.sum(axis=1)) / 10 - 1, 1 - (11 + rows[:, 0]) / 10], axis=1)

    with pytest.raises(UserError) as caught:
        found(Digits(24, 3), violations, [SUM, COUNT], 10)
    message = str(caught.value)
    assert "constraints.max_sum: 10 is out of reach" in message
    assert "needs up to 12, 2 over" in message
    assert "min_count" not in message


def test_all_limits_out_of_reach_are_named_each_with_its_own_best() -> None:
    def violations(rows: np.ndarray) -> np.ndarray:
        # what is least for one is not for the other
        return np.stack([(12 + rows[:, 0]) / 10 - 1, 1 - (8 + rows[:, 0]) / 10], axis=1)

    with pytest.raises(UserError, match=r"up to 12, 2 over; .*min_count: .* sure of 9 d only"):
        found(Digits(24, 2), violations, [SUM, COUNT], 10)


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (1.0, "100 %"),
        (0.2345, "23 %"),
        (0.097, "10 %"),
        (0.0234, "2 %"),
        (2.9e-6, "0.0003 %"),
        (1e-8, "1e-06 %"),
    ],
)
def test_a_share_is_stated_no_finer_than_it_is_known(share: float, shown: str) -> None:
    assert f"About {shown} of the space" in FeasiblePool((), 0, share, 1).summary


def test_a_lower_limit_out_of_reach_is_named_with_the_best() -> None:
    with pytest.raises(UserError, match=r"min_count: 10 d is out of reach; .* sure of 8 d only"):
        found(Digits(8, 2), lambda rows: (1 - rows.sum(axis=1) / 10)[:, None], [COUNT], 10)


def test_limits_that_exclude_each_other_are_named_with_the_best_trade_off() -> None:
    def violations(rows: np.ndarray) -> np.ndarray:
        total = rows.sum(axis=1)
        # a sum of at most 10, a count of at least 10, and each 1 counts half
        return np.stack([total / 10 - 1, 1 - total / 2 / 10], axis=1)

    with pytest.raises(UserError) as caught:
        found(Digits(24, 2), violations, [SUM, COUNT], 10)
    # 13: 30 % over and 35 % below; 14: 40 % over and 30 % below; the least worst is 13
    assert ("each limit can be met, but none of ") in str(caught.value)
    assert (
        "the nearest needs constraints.max_sum 13 instead of 10 and "
        "constraints.min_count 6.5 d instead of 10 d"
    ) in str(caught.value)


def test_the_pool_of_a_real_space_meets_the_limits_of_each_architecture() -> None:
    space = law_space()
    costs = law_costs(space)
    sampled = costs.predict([space.sample(np.random.default_rng(i)) for i in range(300)])
    tight = {
        "max_latency_ms": 1e3 * float(np.quantile([c.latency_s.high for c in sampled], 0.01)),
        "max_flash_kib": float(np.quantile([c.flash_bytes.high for c in sampled], 0.3)) / 1024,
    }
    limits = constraints_of(ConstraintsConfig.model_validate(tight))
    model = CandidateCostModel(costs, objectives_of(["accuracy", "latency"]), limits)
    pool = find_feasible(space, model.violations, model.constraints, 300, np.random.default_rng(0))
    assert len(pool.architectures) == 300 > pool.n_sampled
    assert 1e-4 < pool.share < 0.03
    assert all(c.is_feasible(limits) for c in costs.predict(pool.architectures))


def test_what_comes_nearest_may_be_two_changes_away() -> None:
    """Pairs of digits that cost less together, more alone: each is a valley behind a ridge."""

    def violations(rows: np.ndarray) -> np.ndarray:
        ones = rows.reshape(len(rows), 4, 2).sum(axis=2)
        # 1 for a pair of 0, 2 for one 1, 0 for two
        costs: np.ndarray = np.array([1.0, 2.0, 0.0])[ones].sum(axis=1)
        return costs[:, None]

    limits = Limits(violations)
    limits.worst(np.zeros((1, 8), dtype=np.intp))
    nearest, rows = limits.nearest(np.full(8, 2))
    assert nearest.tolist() == [[0.0], [0.0]]
    assert rows.tolist() == [[1] * 8] * 2
