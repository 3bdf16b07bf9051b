"""Training for int8 leaves a float32 network, and lowers int8's error."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.dataset_config import DigitsSource
from hwnas.datasets import Dataset, load_dataset
from hwnas.quantization import quantize_stages
from hwnas.quantization_aware import fine_tune_quantization_aware
from hwnas.stage_running import run_stage_models
from hwnas.training import exit_loss, optimize, train
from hwnas.training_config import TrainingConfig
from search_spaces.blocks import StagedNetwork
from tests.unit.hwnas.quantized_networks import (
    exported,
    samples,
    separable,
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
