"""Train a network on while it computes as if it were quantized, so that int8 costs less."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hwnas.datasets import Dataset
from hwnas.training import device_of, exit_loss, optimize
from hwnas.training_config import TrainingConfig

_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# fused with what computes their input: only what they put out becomes integers
_FUSED = (nn.ReLU, nn.ReLU6)
_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_COMPUTING = (*_WEIGHTED, *_BATCH_NORMS, *_FUSED, *_POOLS, nn.Hardswish, nn.Hardsigmoid)

LEARNING_RATE_SHARE = 0.1
"""Of the rate of the training that went before: what was trained has to move little."""


def fine_tune_quantization_aware(
    network: nn.Module, dataset: Dataset, config: TrainingConfig, *, epochs: int, seed: int
) -> nn.Module | None:
    """Train a network on, quantized in its forward pass, with the gradients of float32.

    Weights and activations are rounded as `hwnas.quantization` does: weights to int8 with a
    scale for each output channel, activations to uint8 over the range of the batch. Gradients
    pass the rounding as if it were not there. Batch normalization keeps the statistics of the
    trained network, which is what is folded into the weights of the deployed one; a scale for
    each output channel makes rounding before and after folding the same.

    Args:
        network: Trained; maps ``(N, C, H, W)`` to the logits of every exit. Left as it is.
        dataset: Its training split is used.
        config: Of the training that went before; the peak learning rate is a tenth of its.
        epochs: To train on for.
        seed: Of batch order and augmentation.

    Returns:
        A copy with other weights, in float32, to be quantized; ``None`` where the training
        diverged.

    References:
        Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, Sec. 3. arXiv:1712.05877; frozen statistics:
        Krishnamoorthi (2018), Quantizing deep convolutional networks for efficient inference,
        Sec. 3.2.2. arXiv:1806.08342; straight-through gradients: Bengio et al. (2013),
        arXiv:1308.3432
    """
    tuned = copy.deepcopy(network).eval()
    tuned.to(device_of(config), memory_format=torch.channels_last)  # type: ignore[call-overload]
    rate = config.learning_rate * LEARNING_RATE_SHARE
    config = config.model_copy(update={"epochs": epochs, "learning_rate": rate})
    with fake_quantization(tuned):
        result = optimize(
            list(tuned.parameters()),
            lambda x, y: exit_loss(tuned(x), y, config),
            dataset,
            config,
            seed,
        )
    return None if result.diverged else tuned.cpu()


@contextmanager
def fake_quantization(network: nn.Module) -> Iterator[None]:
    """Have a network round weights and activations as int8 would; its weights stay float32.

    Args:
        network: In evaluation mode: what a batch normalization computes is rounded as a part
            of the convolution that it is folded into.
    """
    weighted = [m for m in network.modules() if isinstance(m, _WEIGHTED)]
    fused = _fused_with_next(network)
    hooks = [
        m.register_forward_pre_hook(_round_input)
        for m in network.modules()
        if isinstance(m, (*_WEIGHTED, *_POOLS))
    ]
    hooks += [
        m.register_forward_hook(_round_output)
        for m in network.modules()
        if isinstance(m, _COMPUTING) and m not in fused
    ]
    for module in weighted:
        parametrize.register_parametrization(module, "weight", _RoundedWeight())
    try:
        yield
    finally:
        for module in weighted:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
        for hook in hooks:
            hook.remove()


class _RoundedWeight(nn.Module):
    """Symmetric int8 with a scale for each output channel, from -127 to 127."""

    def forward(self, weight: Tensor) -> Tensor:
        largest = weight.detach().abs().amax(dim=tuple(range(1, weight.ndim)))
        scale = (largest / 127).clamp_min(torch.finfo(weight.dtype).tiny)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def _rounded(x: Tensor) -> Tensor:
    """Round to uint8 over the range of the batch, 0 included."""
    low, high = x.detach().aminmax()
    low, high = low.clamp_max(0), high.clamp_min(0)
    scale = ((high - low) / 255).clamp_min(torch.finfo(x.dtype).tiny)
    zero = (-low / scale).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)


def _round_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(map(_rounded, inputs))


def _round_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return _rounded(output)


def _fused_with_next(network: nn.Module) -> set[nn.Module]:
    """Return modules whose output never becomes integers: only that of the fused operator does."""
    fused: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            for first, second in pairwise(module):
                if (isinstance(first, _WEIGHTED) and isinstance(second, _BATCH_NORMS)) or (
                    isinstance(first, (*_WEIGHTED, *_BATCH_NORMS)) and isinstance(second, _FUSED)
                ):
                    fused.add(first)
    return fused
