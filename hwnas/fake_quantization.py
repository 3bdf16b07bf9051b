"""Have a torch network round its weights and activations as int8 would."""

from __future__ import annotations

from itertools import pairwise
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# fused with what computes their input: only what they put out becomes integers
_FUSED = (nn.ReLU, nn.ReLU6)
_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_COMPUTING = (*_WEIGHTED, *_BATCH_NORMS, *_FUSED, *_POOLS, nn.Hardswish, nn.Hardsigmoid)
_BATCH = 64


class FakeQuantization:
    """Rounds in the forward pass of a network while it is entered, as `hwnas.quantization` does.

    Weights to int8 with a scale for each output channel, activations to uint8 over the range
    that `calibrate` saw last. Gradients pass the rounding as if it were not there, but for
    values beyond the range. The weights themselves stay float32, and the network is an ordinary
    one again when it is left.

    Args:
        network: In evaluation mode: what a batch normalization computes is rounded as a part
            of the convolution that it is folded into. A scale for each output channel makes
            rounding before and after folding the same.
        samples: To calibrate with, ``(N, C, H, W)``, where the network is.

    References:
        Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, Sec. 3. arXiv:1712.05877; straight-through
        gradients: Bengio et al. (2013), arXiv:1308.3432
    """

    def __init__(self, network: nn.Module, samples: Tensor) -> None:
        self._network = network
        self._samples = samples
        self._weighted = [m for m in network.modules() if isinstance(m, _WEIGHTED)]
        self._weights = _Weights()
        self._activations: list[_Activation] = []
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        fused = _fused_with_next(self._network)
        for module in self._network.modules():
            if isinstance(module, (*_WEIGHTED, *_POOLS)):
                self._hooks.append(module.register_forward_pre_hook(self._activation().of_input))
            if isinstance(module, _COMPUTING) and module not in fused:
                self._hooks.append(module.register_forward_hook(self._activation().of_output))
        for module in self._weighted:
            parametrize.register_parametrization(module, "weight", self._weights)
        self.calibrate()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for module in self._weighted:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
        for hook in self._hooks:
            hook.remove()

    def calibrate(self) -> None:
        """Take the ranges of activations anew, from the network in float32 as it is now."""
        self._weights.rounds = False
        for activation in self._activations:
            activation.start_over()
        with torch.no_grad():
            for part in torch.split(self._samples, _BATCH):
                self._network(part)
        for activation in self._activations:
            activation.rounds = True
        self._weights.rounds = True

    def _activation(self) -> _Activation:
        self._activations.append(_Activation())
        return self._activations[-1]


class _Weights(nn.Module):
    """Symmetric int8 with a scale for each output channel, from -127 to 127."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = True

    def forward(self, weight: Tensor) -> Tensor:
        if not self.rounds:
            return weight
        largest = weight.detach().abs().amax(dim=tuple(range(1, weight.ndim)))
        scale = (largest / 127).clamp_min(torch.finfo(weight.dtype).tiny)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


class _Activation:
    """uint8 over the range of what was seen, 0 included; passes on what it sees first."""

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        self.rounds = False
        self._low = self._high = torch.zeros(())

    def of_input(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(map(self, inputs))

    def of_output(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return self(output)

    def __call__(self, x: Tensor) -> Tensor:
        if not self.rounds:
            low, high = x.detach().aminmax()
            self._low = torch.minimum(low, self._low.to(x.device))
            self._high = torch.maximum(high, self._high.to(x.device))
            return x
        scale = ((self._high - self._low) / 255).clamp_min(torch.finfo(x.dtype).tiny)
        zero = (-self._low / scale).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)


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
