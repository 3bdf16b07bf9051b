"""Networks that people designed, trained and measured as a search's finalists are."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from networks import ds_cnn, mobilenet_v2, mobilenet_v3_small, resnet8
from numpy.typing import NDArray
from product_comparison import Contender
from torch import nn

import hwnas
from hwnas.config import ExperimentConfig
from hwnas.datasets import Dataset
from hwnas.training import predict_logits, train
from search_spaces.blocks import NetworkStage, StagedNetwork
from search_spaces.initialize import initialize_weights
from search_spaces.onnx_export import stage_models

Build = Callable[[int, int], nn.Module]
"""From classes and input channels to a network."""

AUDIO: Mapping[str, Build] = MappingProxyType({"DS-CNN": ds_cnn})
IMAGES: Mapping[str, Build] = MappingProxyType(
    {
        "ResNet-8": resnet8,
        "MobileNetV2-0.35": lambda n, c: mobilenet_v2(0.35, n, c),
        "MobileNetV2-0.35, 3 halvings": lambda n, c: mobilenet_v2(0.35, n, c, small_input=True),
        "MobileNetV3-small": mobilenet_v3_small,
        "MobileNetV3-small, 3 halvings": lambda n, c: mobilenet_v3_small(n, c, small_input=True),
    }
)


def train_and_measure(
    name: str, build: Build, dataset: Dataset, config: ExperimentConfig
) -> Contender:
    """Train with the experiment's settings and as many seeds as finalists; measure on its target.

    Raises:
        RuntimeError: If no training with some seed ends in finite weights.
        UserError: If the target refuses the network.
    """
    validation, correct = [], []
    for seed in range(config.finalists.seeds):
        network = _staged(build, dataset)
        initialize_weights(network, seed)
        if train(network, dataset, config.training, seed).diverged:
            raise RuntimeError(f"{name}: training with seed {seed} diverged")
        validation.append(_right(network, dataset.validation.x, dataset.validation.y))
        correct.append(_right(network, dataset.test.x, dataset.test.y))
    (model,) = stage_models(network, dataset.input_shape)
    return Contender(
        name, float(np.mean(validation)), np.stack(correct), _measured(model, config.target)
    )


def _staged(build: Build, dataset: Dataset) -> StagedNetwork:
    network = build(len(dataset.class_names), dataset.input_shape[0])
    return StagedNetwork([NetworkStage(network, nn.Identity())])


def _right(network: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.bool_]:
    (logits,) = predict_logits(network, x)
    return np.asarray(logits.argmax(axis=1) == y)


def _measured(model: onnx.ModelProto, target: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        measured = hwnas.measure(target, path)
    m = measured.measurement
    return {
        "latency_s": m.latency_median_s,
        "flash_bytes": m.flash_bytes,
        "peak_ram_bytes": m.peak_ram_bytes,
        **{name: metric.value for name, metric in measured.metrics.items()},
    }
