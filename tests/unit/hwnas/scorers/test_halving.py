"""Successive halving: what is worth its cost is what a full training gives, the rest ends early."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from hwnas.candidate_training import TrainingOutcome
from hwnas.scorers.full import FullTraining
from hwnas.scorers.halving import SuccessiveHalving, is_among_best
from hwnas.scorers.learning_curves import rung_epochs
from hwnas.scorers.testing import RungsInMemory, small_context, small_task, timeless
from hwnas.training_config import HalvingConfig

LOSS = st.integers(0, 5).map(lambda i: i / 5)
ROWS = st.lists(st.tuples(LOSS, LOSS), min_size=1, max_size=12)
AUGMENTED = {
    "epochs": 4,
    "batch_size": 32,
    "augmentation": {"shift": 1, "noise_std": 0.1},
}


@pytest.mark.parametrize(
    ("epochs", "reduction", "rungs", "wanted"),
    [
        (81, 3, 3, (9, 27, 81)),
        (16, 3, 3, (2, 5, 16)),
        (12, 2, 4, (2, 3, 6, 12)),
        (2, 3, 3, (1, 2)),
        (1, 3, 3, (1,)),
    ],
)
def test_rungs_are_fractions_of_the_full_training(
    epochs: int, reduction: int, rungs: int, wanted: tuple[int, ...]
) -> None:
    assert rung_epochs(epochs, HalvingConfig(reduction=reduction, rungs=rungs)) == wanted


def test_a_training_that_survives_is_a_full_training_bit_for_bit(tmp_path: Path) -> None:
    context = small_context(tmp_path, training=AUGMENTED)
    task = small_task(context)
    full = FullTraining(context).score(task, RungsInMemory())
    weights = load_file(task.checkpoint)
    # worse ones at every rung: this one goes on
    rungs = RungsInMemory(*[[(1.0, 1.0)] * 5] * 2)
    halved = SuccessiveHalving(context).score(task, rungs)
    assert (halved.validation, halved.policy) == (full.validation, full.policy)
    assert (halved.epochs, halved.halted, halved.scorer) == (4, False, "halving")
    again = load_file(task.checkpoint)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_training_that_others_beat_ends_at_the_rung_without_weights(tmp_path: Path) -> None:
    context = small_context(tmp_path, training=AUGMENTED)
    task = small_task(context)
    rungs = RungsInMemory([], [(0.0, 0.0)] * 5)
    outcome = SuccessiveHalving(context).score(task, rungs)
    # rungs of four epochs are 0.44, 1.33 and 4 of them, rounded: 1 and 4 remain
    assert rung_epochs(4, context.config.accuracy.halving) == (1, 4)
    assert not outcome.halted
    halted = SuccessiveHalving(context).score(task, RungsInMemory([(0.0, 0.0)] * 5))
    assert (halted.halted, halted.epochs, halted.failure) == (True, 1, None)


def test_what_is_reported_is_what_the_curve_holds(tmp_path: Path) -> None:
    context = small_context(tmp_path, training={**AUGMENTED, "epochs": 9})
    task = small_task(context)
    rungs = RungsInMemory([], [(0.0, 0.0)] * 5)
    outcome = SuccessiveHalving(context).score(task, rungs)
    assert outcome.halted
    assert not task.checkpoint.exists()
    (curve,) = outcome.curves
    assert (curve.seed, curve.epochs) == (task.seed, (1, 3))
    assert rungs.reports == [(k, (1 - a, 0.5)) for k, a in enumerate(curve.accuracy)]
    assert outcome.validation is not None
    assert outcome.validation.accuracy == curve.accuracy[-1]
    assert 0 < curve.cpu_s[0] < curve.cpu_s[1] < outcome.cpu_s


def test_a_halted_outcome_survives_json(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    outcome = SuccessiveHalving(context).score(small_task(context), RungsInMemory([(0.0, 0.0)] * 5))
    assert TrainingOutcome.from_dict(outcome.to_dict()) == outcome
    assert timeless(outcome) != timeless(TrainingOutcome())


def ranks(rows: list[tuple[float, ...]]) -> list[int]:
    """Non-dominated rank of each row, by peeling one front after the other."""
    out: dict[int, int] = {}
    left = set(range(len(rows)))
    for rank in itertools.count():
        if not left:
            return [out[i] for i in range(len(rows))]
        front = {i for i in left if not any(dominates(rows[j], rows[i]) for j in left)}
        out |= dict.fromkeys(front, rank)
        left -= front
    raise AssertionError


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


@given(ROWS, st.integers(2, 4))
def test_ranks_that_fit_go_on_and_ranks_beyond_the_share_do_not(
    rows: list[tuple[float, float]], reduction: int
) -> None:
    own, *others = rows
    rank = ranks(list(rows))
    share = math.ceil(len(rows) / reduction)
    if sum(r <= rank[0] for r in rank) <= share:
        assert is_among_best(own, others, reduction)
    if sum(r < rank[0] for r in rank) >= share:
        assert not is_among_best(own, others, reduction)


@given(ROWS, st.integers(2, 4))
def test_as_many_go_on_as_there_are_places(rows: list[tuple[float, float]], reduction: int) -> None:
    distinct = list(dict.fromkeys(rows))
    going = [
        row for row in distinct if is_among_best(row, [r for r in distinct if r != row], reduction)
    ]
    assert len(going) == math.ceil(len(distinct) / reduction)


@given(ROWS, st.integers(2, 4), st.randoms(use_true_random=False))
def test_the_order_of_the_others_does_not_matter(
    rows: list[tuple[float, float]], reduction: int, random: Random
) -> None:
    own, *others = rows
    shuffled = list(others)
    random.shuffle(shuffled)
    assert is_among_best(own, others, reduction) == is_among_best(own, shuffled, reduction)


def test_the_first_at_a_rung_goes_on_and_the_worst_of_two_does_not() -> None:
    assert is_among_best((0.5, 0.5), [], 3)
    assert not is_among_best((0.5, 0.5), [(0.4, 0.4)], 3)
    assert is_among_best((0.4, 0.4), [(0.5, 0.5)], 3)


def test_of_a_front_too_long_those_go_on_that_lie_far_apart() -> None:
    # a straight front: the knee is its middle, then the two ends are farthest
    front = [(k / 10, 1 - k / 10) for k in range(11)]
    going = [row for row in front if is_among_best(row, [r for r in front if r != row], 4)]
    assert going == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
