"""Training: seeded, without global state, and honest about divergence."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.dataset_config import DigitsSource
from hwnas.datasets import Dataset, Split, load_dataset
from hwnas.training import _schedule, predict_logits, train
from hwnas.training_config import Augmentation, TrainingConfig
from search_spaces.initialize import initialize_weights

AUGMENTED = Augmentation(shift=1, flip=True, noise_std=0.1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DigitsSource(kind="digits"), Path())


class TwoExits(nn.Module):
    """Two convolutions with an exit after each."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.second = nn.Sequential(
            nn.Conv2d(16, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.early = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10))
        self.final = nn.Sequential(nn.Flatten(), nn.Linear(512, 10))
        initialize_weights(self, seed)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.first(x)
        return self.early(features), self.final(self.second(features))


class Recorder(nn.Module):
    """A linear classifier that keeps what it is given."""

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_classes)
        self.seen: list[NDArray[np.float32]] = []
        initialize_weights(self, 0)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        self.seen.append(x.detach().numpy().copy())
        return (self.linear(x.flatten(1)),)


def small_dataset(n: int = 20, shape: tuple[int, int, int] = (1, 3, 4), seed: int = 0) -> Dataset:
    x = np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)
    split = Split(x, np.arange(n) % 3)
    return Dataset("memory", ("a", "b", "c"), split, split, split, {})


def trained_weights(dataset: Dataset, seed: int, **settings: Any) -> dict[str, Tensor]:
    network = TwoExits()
    train(network, dataset, TrainingConfig(epochs=1, **settings), seed)
    return network.state_dict()


class Epochs(list[int]):
    """Keeps the epochs it is asked about, and goes on until ``last``."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self._last = last

    def __call__(self, epoch: int) -> bool:
        self.append(epoch)
        return epoch != self._last


def accuracies(network: nn.Module, split: Split) -> list[float]:
    return [float(np.mean(z.argmax(1) == split.y)) for z in predict_logits(network, split.x)]


def test_every_exit_of_a_small_net_learns_digits_in_a_few_epochs(digits: Dataset) -> None:
    network = TwoExits()
    epochs = Epochs()
    result = train(network, digits, TrainingConfig(epochs=5), 0, go_on=epochs)
    early, final = accuracies(network, digits.test)
    assert final > 0.9
    assert early > 0.6
    assert (result.epochs, result.diverged, epochs) == (5, False, [1, 2, 3, 4, 5])
    assert result.seconds > 0
    assert not network.training


@pytest.mark.parametrize("augmentation", [Augmentation(), AUGMENTED])
def test_equal_seeds_give_equal_weights_and_other_seeds_others(
    augmentation: Augmentation, digits: Dataset
) -> None:
    first = trained_weights(digits, 3, augmentation=augmentation)
    torch.manual_seed(99)  # the global state must not matter
    again = trained_weights(digits, 3, augmentation=augmentation)
    other = trained_weights(digits, 4, augmentation=augmentation)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["final.1.weight"], other["final.1.weight"])


def test_no_global_random_state_is_touched(digits: Dataset) -> None:
    network = TwoExits()
    of_torch, of_numpy, of_python = (
        torch.get_rng_state(),
        str(np.random.get_state()),
        random.getstate(),
    )
    train(network, digits, TrainingConfig(epochs=1, augmentation=AUGMENTED), 0)
    assert torch.equal(torch.get_rng_state(), of_torch)
    assert str(np.random.get_state()) == of_numpy
    assert random.getstate() == of_python


def test_the_data_set_is_left_as_it_was(digits: Dataset) -> None:
    fingerprint = digits.fingerprint
    trained_weights(digits, 0, augmentation=AUGMENTED)
    assert digits.fingerprint == fingerprint


def test_a_training_that_is_not_to_go_on_ends_there(digits: Dataset) -> None:
    epochs = Epochs(last=2)
    result = train(TwoExits(), digits, TrainingConfig(epochs=4), 0, go_on=epochs)
    assert (result.epochs, result.diverged, epochs) == (2, False, [1, 2])


def test_being_judged_after_each_epoch_changes_no_bit_of_a_training(digits: Dataset) -> None:
    network = TwoExits()
    train(
        network,
        digits,
        TrainingConfig(epochs=3, augmentation=AUGMENTED),
        5,
        go_on=lambda epoch: len(predict_logits(network, digits.validation.x)) == 2,
    )
    judged = network.state_dict()
    alone = TwoExits()
    train(alone, digits, TrainingConfig(epochs=3, augmentation=AUGMENTED), 5)
    assert all(torch.equal(judged[name], w) for name, w in alone.state_dict().items())


def test_an_exploding_loss_is_reported_and_ends_the_training(digits: Dataset) -> None:
    epochs = Epochs()
    config = TrainingConfig(epochs=50, learning_rate=1e9)
    result = train(TwoExits(), digits, config, 0, go_on=epochs)
    assert result.diverged
    assert result.epochs < 50
    assert epochs == list(range(1, result.epochs))


def test_weights_that_the_very_last_step_destroys_are_reported(digits: Dataset) -> None:
    config = TrainingConfig(epochs=1, batch_size=len(digits.train.y), learning_rate=1e39)
    network = TwoExits()
    assert train(network, digits, config, 0).diverged
    assert not all(torch.isfinite(p).all() for p in network.parameters())


def test_one_step_is_that_of_adamw_on_the_smoothed_cross_entropy() -> None:
    dataset = small_dataset()
    network = Recorder(12, 3)
    weight = network.linear.weight.detach().numpy().astype(np.float64)
    rate, decay, smoothing = 0.01, 0.3, 0.1
    config = TrainingConfig(
        epochs=1,
        batch_size=20,
        learning_rate=rate,
        weight_decay=decay,
        label_smoothing=smoothing,
    )
    train(network, dataset, config, 0)
    x = dataset.train.x.reshape(20, 12).astype(np.float64)
    scores = np.exp(x @ weight.T)
    target = (1 - smoothing) * np.eye(3)[dataset.train.y] + smoothing / 3
    error = (scores / scores.sum(axis=1, keepdims=True) - target) / 20
    gradient, bias_gradient = error.T @ x, error.sum(axis=0)
    # AdamW's first step: bias-corrected moments are g and g^2; biases do not decay
    wanted = weight * (1 - rate * decay) - rate * gradient / (np.abs(gradient) + 1e-8)
    wanted_bias = -rate * bias_gradient / (np.abs(bias_gradient) + 1e-8)
    # float32
    np.testing.assert_allclose(network.linear.weight.detach().numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(network.linear.bias.detach().numpy(), wanted_bias, atol=1e-5)


def test_an_exit_of_weight_zero_does_not_learn(digits: Dataset) -> None:
    before = TwoExits().state_dict()
    after = trained_weights(digits, 0, exit_loss_weight=0.0, weight_decay=0.0)
    assert torch.equal(after["early.2.weight"], before["early.2.weight"])
    assert not torch.equal(after["final.1.weight"], before["final.1.weight"])


@pytest.mark.parametrize("steps", [1, 2, 9, 11, 15, 16, 100, 1000])
def test_the_learning_rate_rises_to_its_peak_once_and_falls_towards_zero(steps: int) -> None:
    shares = np.array([_schedule(step, steps) for step in range(steps)])
    peak = int(shares.argmax())
    assert shares.max() == 1.0
    assert (shares > 0).all()
    assert peak <= 0.1 * steps + 0.5
    assert (np.diff(shares[: peak + 1]) > 0).all()
    assert (np.diff(shares[peak:]) <= 0).all()
    if steps >= 100:
        assert shares[-1] < 0.001


def test_each_epoch_sees_every_sample_at_most_once_in_full_batches() -> None:
    dataset = small_dataset(n=20)
    network = Recorder(12, 3)
    train(network, dataset, TrainingConfig(epochs=3, batch_size=6), 0)
    assert [len(batch) for batch in network.seen] == [6] * 9
    index = {row.tobytes(): i for i, row in enumerate(dataset.train.x)}
    orders = []
    for epoch in range(3):
        batches = network.seen[3 * epoch : 3 * epoch + 3]
        orders.append([index[row.tobytes()] for batch in batches for row in batch])
        assert len(set(orders[-1])) == 18
    assert orders[0] != orders[1] != orders[2]


def test_a_training_split_smaller_than_a_batch_is_trained_on() -> None:
    network = Recorder(12, 3)
    train(network, small_dataset(n=5), TrainingConfig(epochs=2, batch_size=64), 0)
    assert [len(batch) for batch in network.seen] == [5, 5]


def test_augmented_samples_are_the_mirrored_or_moved_ones() -> None:
    dataset = small_dataset(n=32, shape=(2, 3, 4))
    network = Recorder(24, 3)
    augmentation = Augmentation(shift=1, flip=True)
    config = TrainingConfig(epochs=8, batch_size=32, augmentation=augmentation)
    train(network, dataset, config, 0)
    moves = {}
    for i, x in enumerate(dataset.train.x):
        for flip in (False, True):
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    moved = np.roll(x[:, :, ::-1] if flip else x, (down, right), (1, 2))
                    moves[moved.tobytes()] = (i, flip, down, right)
    seen = [moves[row.tobytes()] for batch in network.seen for row in batch]
    assert {flip for _, flip, _, _ in seen} == {False, True}
    assert len({(down, right) for _, _, down, right in seen}) > 3
    assert 0.3 < np.mean([flip for _, flip, _, _ in seen]) < 0.7


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    dataset = small_dataset(n=64, shape=(3, 1, 50))
    dataset.train.x[:] = 0
    network = Recorder(150, 3)
    config = TrainingConfig(epochs=1, augmentation=Augmentation(noise_std=0.2))
    train(network, dataset, config, 0)
    noise = np.concatenate(network.seen)
    # 9,600 draws: a deviation is known to 0.7 %
    assert noise.std() == pytest.approx(0.2, rel=0.03)
    assert abs(noise.mean()) < 0.01


def test_logits_are_those_of_the_network_in_evaluation_mode_whatever_the_batch() -> None:
    network = TwoExits().train()
    x = np.random.default_rng(0).normal(size=(1100, 1, 8, 8)).astype(np.float32)
    logits = predict_logits(network, x)
    assert network.training
    assert int(network.state_dict()["first.1.num_batches_tracked"]) == 0
    with torch.no_grad():
        wanted = network.eval()(torch.from_numpy(x))
    for got, want in zip(logits, wanted, strict=True):
        assert got.shape == (1100, 10)
        # float32 sums in another memory format
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-4)
