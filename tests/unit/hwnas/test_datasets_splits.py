"""Splits: disjoint, stratified or by group, and the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwnas.datasets import RawData
from hwnas.datasets.splits import Indices, split_indices
from hwnas.errors import UserError


def raw_data(
    y: NDArray[np.int64],
    groups: NDArray[Any] | None = None,
    official_test: NDArray[np.bool_] | None = None,
) -> RawData:
    x = np.zeros((len(y), 1, 1, 1), dtype=np.float32)
    names = tuple(f"class {i}" for i in range(int(y.max()) + 1))
    return RawData("memory", x, y, names, groups, official_test)


def assert_partition(splits: tuple[Indices, Indices, Indices], n: int) -> None:
    assert all(len(split) for split in splits)
    assert sorted(np.concatenate(splits).tolist()) == list(range(n))


@given(
    counts=st.lists(st.integers(10, 60), min_size=2, max_size=5),
    validation=st.floats(0.1, 0.4),
    test=st.floats(0.1, 0.4),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=60, deadline=None)
def test_without_groups_every_class_keeps_its_share_in_every_split(
    counts: list[int], validation: float, test: float, seed: int
) -> None:
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    splits = split_indices(raw_data(y), validation, test, seed)
    assert_partition(splits, len(y))
    for split, share in zip(splits, (1 - validation - test, validation, test), strict=True):
        kept = np.bincount(y[split], minlength=len(counts))
        # each of the two draws rounds to whole samples, half a sample each
        assert np.abs(kept - share * np.array(counts)).max() <= 1.5


@given(
    sizes=st.lists(st.integers(1, 30), min_size=3, max_size=12),
    fraction=st.floats(0.05, 0.45),
    seed=st.integers(0, 2**31 - 1),
)
# two small groups come nearer to the fraction than one, but then one group is left for two splits
@example(sizes=[1, 1, 30], fraction=0.2, seed=0)
@example(sizes=[1, 1, 30], fraction=0.2, seed=1)
@example(sizes=[1, 1, 30], fraction=0.2, seed=3)
@settings(max_examples=100, deadline=None)
def test_no_group_is_in_two_splits_and_three_groups_are_always_enough(
    sizes: list[int], fraction: float, seed: int
) -> None:
    groups = np.repeat([f"speaker {i}" for i in range(len(sizes))], sizes)
    raw = raw_data(np.zeros(len(groups), dtype=np.int64), groups)
    splits = split_indices(raw, fraction, fraction, seed)
    assert_partition(splits, len(groups))
    train, validation, test = (set(groups[split].tolist()) for split in splits)
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_equal_groups_are_shared_out_by_the_fractions() -> None:
    groups = np.repeat(np.arange(10), 7)
    raw = raw_data(np.tile(np.arange(7), 10), groups)
    train, validation, test = split_indices(raw, 0.2, 0.3, seed=3)
    assert [len(np.unique(groups[s])) for s in (train, validation, test)] == [5, 2, 3]


@pytest.mark.parametrize("grouped", [False, True])
def test_the_split_depends_on_its_seed_alone(grouped: bool) -> None:
    y = np.arange(200) % 2
    raw = raw_data(y, np.arange(200) // 10 if grouped else None)
    np.random.seed(0)
    first = split_indices(raw, 0.2, 0.2, seed=1)
    np.random.seed(1)
    again, other = split_indices(raw, 0.2, 0.2, seed=1), split_indices(raw, 0.2, 0.2, seed=2)
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_official_test_set_is_kept_whatever_the_seed(grouped: bool) -> None:
    y = np.arange(100) % 2
    official = np.arange(100) >= 70
    groups = np.arange(100) // 10 if grouped else None
    for seed in range(3):
        splits = split_indices(raw_data(y, groups, official), 0.2, 0.5, seed)
        assert_partition(splits, 100)
        assert splits[2].tolist() == list(range(70, 100))
        if not grouped:
            assert len(splits[1]) == 14


def test_a_group_on_both_sides_of_an_official_test_set_is_refused() -> None:
    y, official = np.arange(100) % 2, np.arange(100) >= 70
    groups = np.array([f"s{i // 20}" for i in range(100)])
    with pytest.raises(UserError, match="'s3' is in the test set and outside"):
        split_indices(raw_data(y, groups, official), 0.2, 0.2, 0)


@pytest.mark.parametrize("everything", [True, False])
def test_a_test_set_that_is_all_or_nothing_is_refused(everything: bool) -> None:
    y = np.arange(100) % 2
    with pytest.raises(UserError, match=f"test set holds {100 * everything} of 100"):
        split_indices(raw_data(y, None, np.full(100, everything)), 0.2, 0.2, 0)


def test_a_class_with_too_few_samples_is_named() -> None:
    y = np.array([0] * 50 + [1] * 2)
    with pytest.raises(UserError, match="'class 1' has 2 samples, too few"):
        split_indices(raw_data(y), 0.2, 0.2, 0)


@pytest.mark.parametrize("n_groups", [1, 2])
def test_fewer_groups_than_splits_are_refused(n_groups: int) -> None:
    y = np.arange(60) % 2
    raw = raw_data(y, np.arange(60) % n_groups)
    with pytest.raises(UserError, match=f"{n_groups} groups .* wanted at least 3"):
        split_indices(raw, 0.2, 0.2, 0)


def test_one_group_beside_an_official_test_set_is_refused() -> None:
    groups = np.array(["a"] * 30 + ["b"] * 30)
    raw = raw_data(np.arange(60) % 2, groups, np.arange(60) >= 30)
    with pytest.raises(UserError, match=r"1 groups .* wanted at least 2"):
        split_indices(raw, 0.2, 0.2, 0)


def test_a_class_that_only_the_test_set_holds_is_named() -> None:
    y = np.array([0, 1] * 30 + [2] * 10)
    with pytest.raises(UserError, match="'class 2' has no sample in the training split"):
        split_indices(raw_data(y, None, np.arange(70) >= 60), 0.2, 0.2, 0)


def test_fractions_that_leave_no_training_data_are_refused() -> None:
    with pytest.raises(UserError, match=r"must be below 1\. Got 0\.6 \+ 0\.4"):
        split_indices(raw_data(np.arange(100) % 2), 0.6, 0.4, 0)
