"""Small networks to quantize, and what to judge them by."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from search_spaces.blocks import (
    Classifier,
    ConvBnAct,
    InvertedResidual,
    NetworkStage,
    StagedNetwork,
)
from search_spaces.initialize import initialize_weights, live_batch_norm
from search_spaces.onnx_export import stage_models

SHAPE = (1, 8, 8)
CLASSES = 10


def two_stages(seed: int = 0) -> StagedNetwork:
    """Return an untrained network with an early exit, squeeze and excitation and a sum."""
    hidden = (8, 8, 8)
    first = nn.Sequential(ConvBnAct(SHAPE, 8, 3, 1, "relu6"))
    second = nn.Sequential(
        InvertedResidual(hidden, 8, 3, 1, 2, se=True, activation="hard_swish"),
        ConvBnAct(hidden, 12, 3, 2, "relu", depthwise=False),
    )
    network = StagedNetwork(
        [
            NetworkStage(first, Classifier(8, CLASSES)),
            NetworkStage(second, Classifier(12, CLASSES)),
        ]
    )
    initialize_weights(network, seed)
    live_batch_norm(network, SHAPE, seed)
    return network.eval()


def separable() -> StagedNetwork:
    """Return an untrained network of one stage with a depthwise convolution; all ReLU."""
    hidden = (16, 8, 8)
    trunk = nn.Sequential(
        ConvBnAct(SHAPE, 16, 3, 1, "relu"),
        ConvBnAct(hidden, 16, 3, 1, "relu", depthwise=True),
        ConvBnAct(hidden, 16, 1, 2, "relu"),
    )
    network = StagedNetwork([NetworkStage(trunk, Classifier(16, CLASSES))])
    initialize_weights(network, 0)
    return network


def with_outliers(network: StagedNetwork, factor: float) -> None:
    """Let two channels of `separable`'s depthwise convolution be larger by a factor.

    What reads them divides by it, so that the network computes what it did: ReLU is
    homogeneous. One range for all channels leaves the others few steps.
    """
    trunk = network.stages[0].trunk
    norm, reader = trunk[1][1], trunk[2][0]
    with torch.no_grad():
        norm.weight[:2] *= factor
        norm.bias[:2] *= factor
        reader.weight[:, :2] /= factor


def exported(network: StagedNetwork) -> tuple[onnx.ModelProto, ...]:
    """Return its stages."""
    return stage_models(network, SHAPE)


def samples(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Return random inputs ``(n, 1, 8, 8)``."""
    return np.random.default_rng(seed).normal(size=(n, *SHAPE)).astype(np.float32)


def noise_db(values: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the power of a difference over that of the reference, in decibel."""
    return float(20 * np.log10(np.linalg.norm(values - reference) / np.linalg.norm(reference)))
