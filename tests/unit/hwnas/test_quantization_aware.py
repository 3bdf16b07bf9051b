"""Training for int8: rounds as int8 does, leaves a float32 network, and lowers int8's error."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hwnas.dataset_config import DigitsSource
from hwnas.datasets import Dataset, load_dataset
from hwnas.quantization import quantize_stages
from hwnas.quantization_aware import (
    _rounded,
    _RoundedWeight,
    fake_quantization,
    fine_tune_quantization_aware,
)
from hwnas.stage_running import run_stage_models
from hwnas.training import exit_loss, optimize, train
from hwnas.training_config import TrainingConfig
from search_spaces.blocks import StagedNetwork
from tests.unit.hwnas.quantized_networks import (
    exported,
    noise_db,
    samples,
    separable,
    two_stages,
    with_outliers,
)

TRAINING = TrainingConfig(epochs=6, device="cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DigitsSource(kind="digits"), Path())


def int8_accuracy(network: nn.Module, dataset: Dataset) -> float:
    assert isinstance(network, StagedNetwork)
    models = quantize_stages(exported(network), dataset.train.x[:256])
    (logits,) = run_stage_models(models, dataset.validation.x)
    return float(np.mean(logits.argmax(axis=1) == dataset.validation.y))


def test_int8_loses_less_than_after_the_same_training_in_float32(digits: Dataset) -> None:
    network = separable()
    train(network, digits, TRAINING, 0)
    with_outliers(network, 60)
    before = int8_accuracy(network, digits)
    tuned = fine_tune_quantization_aware(network, digits, TRAINING, epochs=4, seed=1)
    assert tuned is not None

    in_float32 = copy.deepcopy(network)
    config = TRAINING.model_copy(
        update={"epochs": 4, "learning_rate": 0.1 * TRAINING.learning_rate}
    )
    optimize(
        list(in_float32.parameters()),
        lambda x, y: exit_loss(in_float32(x), y, config),
        digits,
        config,
        1,
    )
    # 359 samples: twice the standard error of a difference of so dependent answers is about 2 %
    assert int8_accuracy(tuned, digits) > before + 0.02
    assert int8_accuracy(tuned, digits) > int8_accuracy(in_float32.eval(), digits) + 0.02


@pytest.mark.parametrize("seed", range(3))
def test_the_network_rounds_as_much_as_int8_does(seed: int) -> None:
    network, x = two_stages(seed), samples(64, seed)
    models = exported(network)
    with torch.no_grad(), fake_quantization(network):
        rounded = [z.numpy() for z in network(torch.from_numpy(x))]
    floats, int8 = run_stage_models(models, x), run_stage_models(quantize_stages(models, x), x)
    for found, wanted, reference in zip(rounded, int8, floats, strict=True):
        # ranges differ by a step or so, hence roundings do, but not their power. Rounding
        # weights alone, or activations alone, would be off by more than 3 dB
        assert noise_db(found, reference) == pytest.approx(noise_db(wanted, reference), abs=2)


def test_weights_rounded_before_folding_are_those_rounded_after() -> None:
    norm, conv = nn.BatchNorm2d(4).eval(), nn.Conv2d(3, 4, 3, bias=False)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([3.0, -0.2, 1e-3, 50.0]))
        norm.running_var.copy_(torch.tensor([0.1, 2.0, 30.0, 1e-4]))  # type: ignore[union-attr]
        rounding = _RoundedWeight()
        after = rounding(fuse_conv_bn_eval(conv.eval(), norm).weight)
        conv.weight.copy_(rounding(conv.weight))
        before = fuse_conv_bn_eval(conv, norm).weight
    torch.testing.assert_close(before, after, rtol=1e-5, atol=0)


def test_weights_take_255_values_of_equal_distance() -> None:
    weight = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    rounded = _RoundedWeight()(weight)
    for row, original in zip(rounded, weight, strict=True):
        step = float(original.abs().max()) / 127
        integers = (row / step).round()
        torch.testing.assert_close(row, integers * step)
        assert integers.abs().max() == 127
        # ties of float32 may be rounded either way
        assert (row - original).abs().max() <= 0.5001 * step


@given(st.lists(st.integers(-(10**6), 10**6).map(lambda i: i / 1000), min_size=1, max_size=50))
def test_activations_take_256_values_over_their_range_and_zero_is_one_of_them(
    values: list[float],
) -> None:
    x = np.array([*values, 0], dtype=np.float32)
    rounded = _rounded(torch.from_numpy(x)).numpy()
    step = float(x.max() - x.min()) / 255
    assert rounded[-1] == 0
    # half a step, another half where the place of zero was rounded, and float32's own error
    assert np.abs(rounded - x).max() <= 1.01 * step
    if step > 0:
        integers = rounded / step
        np.testing.assert_allclose(integers, np.rint(integers), atol=0.01)
        assert np.rint(integers).max() - np.rint(integers).min() <= 255


def test_gradients_pass_the_rounding() -> None:
    layer = nn.Linear(3, 2, bias=False)
    x = torch.tensor([[1.0, 2.0, -3.0]])
    with fake_quantization(layer):
        layer(x).sum().backward()
        (weight,) = layer.parameters()
        assert weight.grad is not None
        # of the sum over outputs with respect to a weight: the rounded input
        torch.testing.assert_close(weight.grad, x.expand(2, 3), rtol=0, atol=5 / 255)


def test_the_network_itself_stays_and_the_copy_is_an_ordinary_one(digits: Dataset) -> None:
    network = separable()
    before = copy.deepcopy(network.state_dict())
    tuned = fine_tune_quantization_aware(network, digits, TRAINING, epochs=1, seed=0)
    assert tuned is not None
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    state = tuned.state_dict()
    assert state.keys() == before.keys()
    again = separable()
    again.load_state_dict(state)
    x = torch.from_numpy(samples(8))
    torch.testing.assert_close(again.eval()(x), tuned(x))
    for name in before:
        # statistics are frozen, all else learns
        frozen = "running" in name or "num_batches" in name
        assert torch.equal(state[name], before[name]) == frozen, name


def test_equal_seeds_give_equal_weights(digits: Dataset) -> None:
    first, second, other = (
        fine_tune_quantization_aware(separable(), digits, TRAINING, epochs=1, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first is not None
    assert second is not None
    assert other is not None
    name = "stages.0.trunk.0.0.weight"
    assert torch.equal(first.state_dict()[name], second.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_a_training_that_diverges_gives_no_network(digits: Dataset) -> None:
    config = TRAINING.model_copy(update={"learning_rate": 1e38})
    assert fine_tune_quantization_aware(separable(), digits, config, epochs=2, seed=0) is None
