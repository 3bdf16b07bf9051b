"""The supernet: trained once per run, its networks learn together, and each is judged alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.scorers.shared_weights import extreme
from hwnas.scorers.supernet import SUPERNET_FILE, InheritedWeights
from hwnas.scorers.testing import RungsInMemory, small_context, small_task, timeless

# fewer choices and more steps than the contract's, so that every network learns
LONGER = {"epochs": 8, "batch_size": 32}
FEW_CHOICES = {
    "n_stages": 2,
    "choices": {
        "stem_width": [8],
        "width_multiplier": [1.0],
        "stride_plan": ["1-2-2"],
        "depth": [1],
        "width": [8, 16],
        "kernel": [3],
        "expansion": [1, 2],
        "se": [0],
        "activation": ["relu6"],
        "exit_width": [0],
    },
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def training_cpu_s(folder: Path) -> float:
    torch.set_num_threads(1)
    return InheritedWeights(small_context(folder, space=FEW_CHOICES)).training_cpu_s


def test_the_largest_and_the_smallest_network_both_learn(tmp_path: Path) -> None:
    context = small_context(tmp_path, training=LONGER, space=FEW_CHOICES)
    scorer, rng = InheritedWeights(context), np.random.default_rng(0)
    for largest, least in ((True, 0.6), (False, 0.3)):
        arch = extreme(context.space, largest, rng)
        stage_costs = tuple(1.0 for _ in context.space.stages(arch))
        task = replace(small_task(context), architecture=arch, stage_costs=stage_costs)
        validation = scorer.score(task, RungsInMemory()).validation
        assert validation is not None
        # guessing is right in 0.1
        assert validation.accuracy > least


def test_a_second_scorer_reads_what_the_first_has_trained(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    task = small_task(context)
    first = InheritedWeights(context)
    outcome = first.score(task, RungsInMemory())
    written = (tmp_path / SUPERNET_FILE).stat().st_mtime_ns
    second = InheritedWeights(context)
    assert timeless(second.score(task, RungsInMemory())) == timeless(outcome)
    assert (tmp_path / SUPERNET_FILE).stat().st_mtime_ns == written
    assert second.training_cpu_s == first.training_cpu_s > 0


def test_workers_that_ask_at_once_train_one_supernet(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        times = list(pool.map(training_cpu_s, [tmp_path] * 2))
    # a training of its own would have taken another time
    assert times[0] == times[1] > 0


def test_fine_tuned_weights_are_other_ones(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    tuned = small_context(tmp_path, accuracy={"supernet": {"fine_tune_epochs": 2}})
    task = small_task(context)
    outcome, after = (InheritedWeights(c).score(task, RungsInMemory()) for c in (context, tuned))
    assert (outcome.epochs, after.epochs) == (0, 2)
    assert outcome.validation is not None
    assert after.validation is not None
    # a network that has hardly learnt, as its supernet had three epochs, gains by two of its own
    assert after.validation.accuracy > outcome.validation.accuracy
