"""Train a network on while it computes as if it were quantized, so that int8 costs less."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from hwnas.datasets import Dataset
from hwnas.fake_quantization import FakeQuantization
from hwnas.training import device_of, exit_loss, optimize
from hwnas.training_config import TrainingConfig

LEARNING_RATE_SHARE = 0.1
"""Of the rate of the training that went before: what was trained has to move little."""

_CALIBRATION_SAMPLES = 256


def fine_tune_quantization_aware(
    network: nn.Module, dataset: Dataset, config: TrainingConfig, *, epochs: int, seed: int
) -> nn.Module | None:
    """Train a network on, quantized in its forward pass, with the gradients of float32.

    It computes as `FakeQuantization` says, with ranges taken anew from training samples after
    each epoch: what is constant in the input, such as silence, meets the same errors as it will
    when deployed, so that the network can make up for them. Noise that training adds would
    hide these errors, and is left out. Batch normalization keeps the statistics of the trained
    network, which is what is folded into the deployed one.

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
        Krishnamoorthi (2018), Quantizing deep convolutional networks for efficient inference,
        Sec. 3.2 (frozen statistics). arXiv:1806.08342
    """
    device = device_of(config)
    tuned = copy.deepcopy(network).eval()
    tuned.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = config.model_copy(
        update={
            "epochs": epochs,
            "learning_rate": config.learning_rate * LEARNING_RATE_SHARE,
            "augmentation": config.augmentation.model_copy(update={"noise_std": 0.0}),
        }
    )
    x = dataset.train.x
    rows = np.linspace(0, len(x) - 1, min(_CALIBRATION_SAMPLES, len(x))).round().astype(np.intp)
    with FakeQuantization(tuned, torch.from_numpy(x[rows]).to(device)) as rounding:

        def recalibrate(epoch: int) -> bool:
            rounding.calibrate()
            return True

        result = optimize(
            list(tuned.parameters()),
            lambda x, y: exit_loss(tuned(x), y, config),
            dataset,
            config,
            seed,
            go_on=recalibrate,
        )
    return None if result.diverged else tuned.cpu()
