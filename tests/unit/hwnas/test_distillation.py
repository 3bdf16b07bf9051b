"""Distillation: the loss by hand, and a teacher that sees what the student sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.compression_config import DistillationConfig
from hwnas.datasets import Dataset, Split
from hwnas.distillation import DistillationLoss
from hwnas.training import train
from hwnas.training_config import Augmentation, TrainingConfig
from search_spaces.initialize import initialize_weights

RNG = np.random.default_rng(0)
TEACHER = RNG.normal(size=(5, 3)).astype(np.float32)
EXITS = [RNG.normal(size=(5, 3)).astype(np.float32) for _ in range(3)]
LABELS = np.array([0, 2, 1, 1, 0])


class Answers(nn.Module):
    """A teacher of given answers, whose early exit knows nothing."""

    def __init__(self, logits: NDArray[np.float32]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.from_numpy(logits))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(self.logits), self.logits


class Keeps(nn.Module):
    """A linear classifier that keeps what it is given, and in which mode."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        initialize_weights(self, seed)
        self.seen: list[Tensor] = []
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> tuple[Tensor]:
        self.seen.append(x.detach().clone())
        self.modes.append(self.training)
        return (self.linear(x),)


def softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(z)
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def by_hand(logits: NDArray[np.float32], weight: float, temperature: float) -> float:
    """Loss of one exit, without label smoothing."""
    student, teacher = logits.astype(np.float64), TEACHER.astype(np.float64)
    hard = -np.log(softmax(student)[np.arange(5), LABELS]).mean()
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    soft = (p * np.log(p / q)).sum(axis=1).mean()
    return float((1 - weight) * hard + weight * temperature**2 * soft)


def loss(weight: float, temperature: float, exit_weight: float) -> float:
    training = TrainingConfig(label_smoothing=0, exit_loss_weight=exit_weight, device="cpu")
    settings = DistillationConfig(weight=weight, temperature=temperature)
    minimized = DistillationLoss(Answers(TEACHER), training, settings)
    exits = [torch.from_numpy(z) for z in EXITS]
    return minimized(exits, torch.zeros(5, 1, 2, 2), torch.from_numpy(LABELS)).item()


@pytest.mark.parametrize(("weight", "temperature"), [(0.3, 1.0), (0.7, 4.0), (1.0, 2.0)])
def test_the_loss_of_every_exit_is_that_of_hinton_towards_the_teachers_final_exit(
    weight: float, temperature: float
) -> None:
    first, second, final = (by_hand(z, weight, temperature) for z in EXITS)
    # float32
    got = loss(weight, temperature, 0.5)
    assert got == pytest.approx(final + 0.5 * (first + second), rel=1e-5)


def test_a_network_without_early_exits_has_the_loss_of_its_only_exit() -> None:
    training = TrainingConfig(label_smoothing=0, device="cpu")
    minimized = DistillationLoss(Answers(TEACHER), training, DistillationConfig(weight=0.5))
    x, y = torch.zeros(5, 1, 2, 2), torch.from_numpy(LABELS)
    got = minimized([torch.from_numpy(EXITS[0])], x, y).item()
    assert got == pytest.approx(by_hand(EXITS[0], 0.5, 4.0), rel=1e-5)


def test_who_answers_as_the_teacher_does_has_nothing_to_learn_from_it() -> None:
    training = TrainingConfig(device="cpu")
    minimized = DistillationLoss(Answers(TEACHER), training, DistillationConfig(weight=1))
    # logits are known up to a number that all classes share
    student = torch.from_numpy(TEACHER + 3).requires_grad_()
    value = minimized([student], torch.zeros(5, 1, 2, 2), torch.from_numpy(LABELS))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(0, abs=1e-5)
    assert student.grad is not None
    assert student.grad.abs().max().item() == pytest.approx(0, abs=1e-5)


def dataset() -> Dataset:
    x = np.random.default_rng(1).normal(size=(20, 1, 3, 4)).astype(np.float32)
    split = Split(x, np.arange(20) % 3)
    return Dataset("memory", ("a", "b", "c"), split, split, split, {})


def test_the_teacher_sees_the_augmented_samples_of_the_student_and_does_not_learn() -> None:
    student, teacher = Keeps(0), Keeps(1)
    before = [p.detach().clone() for p in teacher.parameters()]
    config = TrainingConfig(
        epochs=2,
        batch_size=10,
        augmentation=Augmentation(shift=1, flip=True, noise_std=0.5),
        device="cpu",
    )
    data = dataset()
    train(student, data, config, 0, loss=DistillationLoss(teacher, config, DistillationConfig()))
    assert len(student.seen) == 4
    assert all(torch.equal(a, b) for a, b in zip(student.seen, teacher.seen, strict=True))
    assert not torch.equal(student.seen[0], student.seen[2])
    assert teacher.modes == [False] * 4
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    assert all(p.grad is None for p in teacher.parameters())


def test_a_student_comes_to_answer_as_its_teacher_against_the_labels() -> None:
    data, teacher, student = dataset(), Keeps(0), Keeps(1)
    config = TrainingConfig(
        epochs=600, batch_size=20, learning_rate=0.05, weight_decay=0, device="cpu"
    )
    settings = DistillationConfig(weight=1, temperature=2)
    train(student, data, config, 0, loss=DistillationLoss(teacher, config, settings))
    with torch.no_grad():
        wanted = teacher(torch.from_numpy(data.train.x))[0].softmax(dim=1)
        got = student(torch.from_numpy(data.train.x))[0].softmax(dim=1)
    # linear maps are fitted to float32 by so many steps; a half is enough for this
    assert torch.allclose(got, wanted, atol=1e-3)
