"""Training-free scores against closed forms and hand counts on networks made for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.scorers.testing import small_context
from hwnas.scorers.training_free import TRAINING_FREE, TrainingFreeScores, naswot, synflow, zen
from search_spaces.blocks import Classifier, ConvBnAct, NetworkStage, StagedNetwork
from search_spaces.encoding import encode
from search_spaces.initialize import initialize_weights

CLASSES = 5


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pixel_network(*channels: int, activation: str = "relu6") -> StagedNetwork:
    """1x1 convolutions on a single pixel: matrix products."""
    shapes = [(c, 1, 1) for c in channels]
    layers = [ConvBnAct(shape, after[0], 1, 1, activation) for shape, after in pairwise(shapes)]
    network = StagedNetwork(
        [NetworkStage(nn.Sequential(*layers), Classifier(channels[-1], CLASSES))]
    )
    initialize_weights(network, 0)
    return network


def weights(network: nn.Module) -> list[np.ndarray]:
    return [p.detach().double().numpy().squeeze() for p in network.parameters() if p.ndim > 1]


def test_synflow_of_a_chain_is_its_layers_times_the_product_of_absolute_weights() -> None:
    network = pixel_network(3, 8, 6, 4)
    matrices = weights(network)
    flow = np.ones(3)
    for matrix in matrices:
        flow = np.abs(matrix) @ flow
    # three batch norms that divide by sqrt(1 + eps); Euler: each layer contributes R once
    total = len(matrices) * flow.sum() / (1 + 1e-5) ** 1.5
    assert synflow(network, (3, 1, 1)) == pytest.approx(math.log(total), abs=1e-9)


def test_synflow_does_not_end_where_an_activation_saturates() -> None:
    network = pixel_network(3, 64, 64, 64)
    # relu6 passes at most 6: the logits of 64 of them, were they cut, could not grow as these do
    assert synflow(network, (3, 1, 1)) > math.log(6 * 64 * CLASSES)


def test_naswot_counts_the_units_that_two_samples_agree_on() -> None:
    network = pixel_network(3, 7, 5)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3, 1, 1)).astype(np.float32))
    first, second, _ = weights(network)
    codes, inputs = [], x.squeeze().double().numpy()
    for matrix in (first, second):
        sums = inputs @ matrix.T
        normal = (sums - sums.mean(0)) / np.sqrt(sums.var(0) + 1e-5)
        codes.append(normal > 0)
        inputs = np.clip(normal, 0, 6)
    code = np.concatenate(codes, axis=1)
    kernel = (code[:, None] == code[None]).sum(axis=2) + np.eye(6)
    assert naswot(network, x) == pytest.approx(np.linalg.slogdet(kernel)[1], abs=1e-9)


def test_naswot_of_samples_that_are_all_the_same_is_the_least_there_is() -> None:
    same = torch.ones(4, 3, 1, 1)
    units = 7 + 5
    # all agree on all units: eigenvalues 4 * units + 1 and three ones
    wanted = math.log(4 * units + 1)
    assert naswot(pixel_network(3, 7, 5), same) == pytest.approx(wanted, abs=1e-9)


def test_zen_of_one_normalized_layer_follows_from_its_size() -> None:
    channels, size, fan_in = 64, 8, 16
    trunk = ConvBnAct((fan_in, size, size), channels, 1, 1, "none")
    network = StagedNetwork([NetworkStage(trunk, Classifier(channels, CLASSES))])
    # each output of the layer has variance |w|^2, which batch norm divides by: a step of 0.01
    # in every input moves every output by 0.01, and log s is that of sqrt(fan_in)
    wanted = math.log(0.01 * math.sqrt(channels * size * size)) + 0.5 * math.log(fan_in)
    # 64 x 16 weights and 16 x 1024 inputs: |w|^2 is known to 5 %, its half logarithm to 2 %
    assert zen(network, (fan_in, size, size), 0) == pytest.approx(wanted, abs=0.05)


def test_zen_does_not_depend_on_the_weights_it_is_given() -> None:
    network = pixel_network(3, 8, 8)
    first = zen(network, (3, 1, 1), 3)
    initialize_weights(network, 9)
    assert zen(network, (3, 1, 1), 3) == first
    assert zen(network, (3, 1, 1), 4) != first


@pytest.mark.parametrize("column", range(3), ids=TRAINING_FREE)
def test_early_exits_change_no_score(column: int, tmp_path: Path) -> None:
    context = small_context(tmp_path)
    scores = TrainingFreeScores(context.space, context.dataset, 0)
    arch = context.space.sample(np.random.default_rng(0))
    for after, width in ((0, 0), (1, 0), (1, 32)):
        choices = {**dict(arch.choices), "exit_after_s0": after, "exit_width_s0": width}
        if not after:
            without = scores([context.space.canonicalize(choices)])[0, column]
            continue
        with_exit = scores([context.space.canonicalize(choices)])[0, column]
        # weights are drawn in the order of the modules: an exit's shift those that follow it
        assert with_exit == pytest.approx(without, rel=0.2)


def test_scores_are_finite_and_follow_from_the_seed(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    rng = np.random.default_rng(1)
    archs = [context.space.sample(rng) for _ in range(5)]
    scores = TrainingFreeScores(context.space, context.dataset, 0)
    first = scores(archs)
    assert first.shape == (5, 3)
    assert np.isfinite(first).all()
    torch.manual_seed(99)
    again = TrainingFreeScores(context.space, context.dataset, 0)
    np.testing.assert_array_equal(again(archs[::-1])[::-1], first)
    other = TrainingFreeScores(context.space, context.dataset, 1)
    assert not np.array_equal(other(archs), first)
    np.testing.assert_array_equal(scores.of_encodings(encode(context.space, archs)), first)


def test_no_architecture_is_scored_twice(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    arch = context.space.sample(np.random.default_rng(1))
    scores = TrainingFreeScores(context.space, context.dataset, 0)
    scores([arch])
    context.space.build = None  # type: ignore[method-assign,assignment]
    np.testing.assert_array_equal(scores([arch, arch])[0], scores([arch])[0])
    assert scores([]).shape == (0, 3)
