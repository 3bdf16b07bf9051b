"""Knowledge distillation: exits learn what a larger network answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.compression_config import DistillationConfig
from hwnas.training import device_of, exit_loss
from hwnas.training_config import TrainingConfig


class DistillationLoss:
    """The loss of a student whose every exit learns from its teacher's final exit.

    ``(1 - a) CE(labels, s) + a T^2 KL(softmax(t / T) || softmax(s / T))`` for logits s of an
    exit and t of the teacher, summed over the exits with the weights of `exit_loss`. The factor
    T^2 keeps the gradient's size where T changes. The teacher answers on the very samples that
    the student sees, augmented as they are.

    Args:
        teacher: Trained; maps samples to the logits of every exit, the final one last. Put in
            evaluation mode, where the training runs; its weights are left as they are.
        training: Of the student.
        settings: a and T.

    References:
        Hinton, Vinyals & Dean (2015), Distilling the Knowledge in a Neural Network, Sec. 2.
        arXiv:1503.02531
    """

    def __init__(
        self, teacher: nn.Module, training: TrainingConfig, settings: DistillationConfig
    ) -> None:
        moved = teacher.to(  # type: ignore[call-overload]
            device_of(training), memory_format=torch.channels_last
        )
        self._teacher: nn.Module = moved.eval()
        self._training = training
        self._settings = settings

    def __call__(self, exits: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            exits: The student's logits ``(N, classes)`` at every exit, the final one last.
            x: Samples ``(N, C, H, W)`` that the student saw.
            y: Labels ``(N,)``.
        """
        weight, temperature = self._settings.weight, self._settings.temperature
        with torch.no_grad():
            answers = (self._teacher(x)[-1] / temperature).softmax(dim=1)
        *early, final = (_divergence(answers, s / temperature) for s in exits)
        divergence = final + self._training.exit_loss_weight * sum(early)
        hard = exit_loss(exits, y, self._training)
        return (1 - weight) * hard + weight * temperature**2 * divergence


def _divergence(answers: Tensor, logits: Tensor) -> Tensor:
    """Return the mean over samples of ``KL(answers || softmax(logits))``, in nats."""
    return functional.kl_div(logits.log_softmax(dim=1), answers, reduction="batchmean")
