"""Seeded weights, and activations that are alive without training."""

from __future__ import annotations

import torch
from torch import nn

from search_spaces._types import Shape

_BATCHES = 4
_BATCH_SIZE = 32


def initialize_weights(network: nn.Module, seed: int) -> None:
    """Set every weight from a seed, without touching torch's global random state.

    Convolutions and linear layers get He's normal initialization, biases 0,
    batch normalization the identity.

    References:
        He et al. (2015), Delving Deep into Rectifiers, Sec. 2.2.
        doi:10.1109/ICCV.2015.123
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            dense_conv = isinstance(module, nn.Conv2d) and module.groups == 1
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out" if dense_conv else "fan_in", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            module.reset_running_stats()


def live_batch_norm(network: nn.Module, input_shape: Shape, seed: int) -> None:
    """Set batch-norm statistics from random inputs, so that outputs depend on the input.

    With default statistics the activations of an untrained deep net fade, and
    its output hardly depends on the input: a comparison of outputs would pass
    on wrong code.

    Args:
        network: Left in evaluation mode.
        input_shape: ``(C, H, W)``.
        seed: Of the inputs.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
    generator = torch.Generator().manual_seed(seed)
    network.train()
    with torch.no_grad():
        for _ in range(_BATCHES):
            network(torch.randn(_BATCH_SIZE, *input_shape, generator=generator))
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
