"""Train a network, seeded and light: no data loader, one thread, channels last."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hwnas.datasets import Dataset
from hwnas.training_config import Augmentation, TrainingConfig

_WARM_UP_SHARE = 0.1
_EVALUATION_BATCH = 512

TrainingLoss: TypeAlias = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]
"""Loss of a batch, from the logits of every exit, the samples as augmented, and the labels."""


@dataclass(frozen=True)
class TrainingResult:
    """How a training went.

    Args:
        epochs: Epochs trained.
        seconds: Wall-clock time.
        diverged: Whether the loss or a weight left the finite numbers; training stopped there.
    """

    epochs: int
    seconds: float
    diverged: bool


def train(
    network: nn.Module,
    dataset: Dataset,
    config: TrainingConfig,
    seed: int,
    *,
    loss: TrainingLoss | None = None,
    go_on: Callable[[int], bool] = lambda epoch: True,
) -> TrainingResult:
    """Train all exits of a network jointly on the training split, in place.

    AdamW with a one-cycle cosine learning rate. Equal seeds give equal weights on one
    machine; torch's global random state is not used.

    Args:
        network: Maps ``(N, C, H, W)`` to a tuple of logits, final exit last. Left
            in evaluation mode, on the CPU.
        dataset: Its training split is used.
        config: Settings.
        seed: Of batch order and augmentation.
        loss: What is minimized; `exit_loss` where not given.
        go_on: Asked after each epoch, with the number of those finished; training ends
            where the answer is no. Until then it is what it would be without the question.

    References:
        Loshchilov & Hutter (2019), Decoupled Weight Decay Regularization,
        Algorithm 2. arXiv:1711.05101
    """
    device = device_of(config)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    minimized = loss or (lambda exits, x, y: exit_loss(exits, y, config))
    result = optimize(
        list(network.parameters()),
        lambda x, y: minimized(network(x), x, y),
        dataset,
        config,
        seed,
        # batch norm's statistics are no parameters, and may overflow first
        go_on=lambda epoch: _is_finite(network.state_dict().values()) and go_on(epoch),
    )
    network.to("cpu").eval()
    diverged = result.diverged or not _is_finite(network.state_dict().values())
    return replace(result, diverged=diverged)


def optimize(
    parameters: Sequence[nn.Parameter],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    dataset: Dataset,
    config: TrainingConfig,
    seed: int,
    *,
    go_on: Callable[[int], bool] = lambda epoch: True,
) -> TrainingResult:
    """Minimize a loss over the batches of the training split; see `train`.

    Args:
        parameters: What is optimized, on the device of `device_of`.
        loss_of: Loss of a batch: augmented samples ``(N, C, H, W)``, channels last, and labels.
        dataset: Its training split is used.
        config: Settings.
        seed: Of batch order and augmentation.
        go_on: As in `train`.
    """
    began = time.perf_counter()
    device = device_of(config)
    x = torch.from_numpy(dataset.train.x).to(device)
    y = torch.from_numpy(dataset.train.y).to(device)
    generator = torch.Generator().manual_seed(seed)
    batch = min(config.batch_size, len(y))
    steps = config.epochs * max(1, len(y) // batch)
    optimizer = torch.optim.AdamW(
        _parameter_groups(parameters, config.weight_decay), lr=config.learning_rate, fused=True
    )
    diverged, step = False, 0
    for epoch in range(config.epochs):
        order = torch.randperm(len(y), generator=generator)
        # an incomplete last batch could hold one sample, which batch-norm cannot take
        for start in range(0, len(y) - batch + 1, batch):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _schedule(step, steps)
            index = order[start : start + batch].to(device)
            samples = _augment(x[index], config.augmentation, generator)
            loss = loss_of(samples.contiguous(memory_format=torch.channels_last), y[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
        # the last step's loss is older than the weights it leads to
        if not torch.isfinite(loss) or not _is_finite(parameters):
            diverged = True
            break
        if not go_on(epoch + 1):
            break
    return TrainingResult(epoch + 1, time.perf_counter() - began, diverged)


def exit_loss(exits: Sequence[Tensor], target: Tensor, config: TrainingConfig) -> Tensor:
    """Return the weighted sum of the exits' cross-entropies.

    Args:
        exits: Logits ``(N, classes)`` of every exit, the final one last.
        target: Labels ``(N,)``, or probabilities ``(N, classes)``.
        config: Weight of early exits, and label smoothing.
    """
    smoothing = config.label_smoothing
    *early, final = exits
    loss = functional.cross_entropy(final, target, label_smoothing=smoothing)
    for logits in early:
        part = functional.cross_entropy(logits, target, label_smoothing=smoothing)
        loss = loss + config.exit_loss_weight * part
    return loss


def device_of(config: TrainingConfig) -> torch.device:
    """Return where a training runs."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def predict_logits(network: nn.Module, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Return the logits of every exit for samples ``(N, C, H, W)``, each ``(N, classes)``."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    batches = []
    with torch.inference_mode():
        for start in range(0, len(x), _EVALUATION_BATCH):
            part = torch.from_numpy(x[start : start + _EVALUATION_BATCH]).to(device)
            batches.append(network(part.contiguous(memory_format=torch.channels_last)))
    network.train(was_training)
    return tuple(torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True))


def _augment(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    if augmentation.flip:
        flipped = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(flipped.to(x.device)[:, None, None, None], x.flip(3), x)
    if augmentation.shift:
        reach = augmentation.shift
        for axis in (2, 3):
            if x.shape[axis] > 1:
                # one shift a batch: a shift per sample costs more than the training step
                by = int(torch.randint(-reach, reach + 1, (1,), generator=generator))
                x = torch.roll(x, by, axis)
    if augmentation.noise_std:
        noise = torch.randn(x.shape, generator=generator).to(x.device)
        x = x + augmentation.noise_std * noise
    return x


def _schedule(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: linear warm-up, then a half cosine."""
    warm_up = max(1, round(_WARM_UP_SHARE * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _parameter_groups(
    parameters: Sequence[nn.Parameter], weight_decay: float
) -> list[dict[str, Any]]:
    # decay pulls biases and batch-norm scales towards values that mean nothing
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _is_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
