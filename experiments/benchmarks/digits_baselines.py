"""Test accuracy of the quickstart's members beside two baselines on the same split.

    python experiments/benchmarks/digits_baselines.py runs/quickstart

Baselines: logistic regression on the pixels, and a hand-written network like MobileNetV2-0.35
without early exits, trained with the run's settings and as many seeds as its finalists.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import targets
from hwnas.accuracy import mean_accuracy_interval, wilson_interval
from hwnas.config import ExperimentConfig
from hwnas.datasets import Dataset, load_dataset
from hwnas.front import Candidate
from hwnas.run_folder import RunFolder
from hwnas.training import predict_logits, train
from hwnas.units import engineering, percent
from search_spaces.blocks import (
    Classifier,
    ConvBnAct,
    InvertedResidual,
    NetworkStage,
    StagedNetwork,
)
from search_spaces.initialize import initialize_weights
from search_spaces.layout import conv_output_shape
from search_spaces.onnx_export import stage_models
from targets import Failure

# expansion, channels, blocks, stride: MobileNetV2's table at width 0.35, strides for 8x8
_LAYOUT = (
    (1, 8, 1, 1),
    (6, 8, 2, 1),
    (6, 12, 3, 2),
    (6, 24, 4, 1),
    (6, 32, 3, 1),
    (6, 56, 3, 2),
    (6, 112, 1, 1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = RunFolder(parser.parse_args().run)
    torch.set_num_threads(1)
    manifest, front = run.manifest(), run.front()
    config = ExperimentConfig.model_validate(manifest["config"])
    dataset = load_dataset(config.dataset, Path(manifest["base_dir"]))
    for candidate in map(Candidate.from_dict, front["candidates"]):
        metric = candidate.metrics["accuracy"]
        if candidate.on_front:
            row(
                f"{candidate.architecture.arch_id} ({metric.seeds} seeds)",
                percent(metric.value, metric.low, metric.high),
                candidate.metrics["latency_s"].value,
            )
    right = logistic_regression(dataset)
    n = len(dataset.test.y)
    row("logistic regression", percent(right / n, *wilson_interval(right, n)))
    hand_written(dataset, config)


def row(name: str, accuracy: str, latency_s: float | None = None) -> None:
    """Print one line."""
    latency = "" if latency_s is None else engineering(latency_s, "s")
    print(f"{name:36} {accuracy:22} {latency}", flush=True)


def logistic_regression(dataset: Dataset) -> int:
    """Return how many test samples logistic regression on the training split gets right."""
    model = LogisticRegression(max_iter=5000)
    model.fit(dataset.train.x.reshape(len(dataset.train.y), -1), dataset.train.y)
    predicted = model.predict(dataset.test.x.reshape(len(dataset.test.y), -1))
    return int(np.sum(predicted == dataset.test.y))


def hand_written(dataset: Dataset, config: ExperimentConfig) -> None:
    """Train and measure the hand-written network."""
    accuracies = []
    for seed in range(config.finalists.seeds):
        network = mobilenet(dataset)
        initialize_weights(network, seed)
        train(network, dataset, config.training, seed)
        logits = predict_logits(network, dataset.test.x)[0]
        accuracies.append(float(np.mean(logits.argmax(axis=1) == dataset.test.y)))
    with targets.create(config.target) as target:
        (model,) = stage_models(network, dataset.input_shape)
        artifact = target.compile(model)
        measured = artifact if isinstance(artifact, Failure) else target.measure(artifact)
    if isinstance(measured, Failure):
        raise RuntimeError(measured.message)
    interval = mean_accuracy_interval(accuracies, len(dataset.test.y))
    row(
        f"MobileNetV2-0.35-like ({len(accuracies)} seeds)",
        percent(float(np.mean(accuracies)), *interval),
        measured.latency_median_s,
    )


def mobilenet(dataset: Dataset) -> StagedNetwork:
    """Build the hand-written network."""
    shape = dataset.input_shape
    layers: list[torch.nn.Module] = [ConvBnAct(shape, 12, 3, 1, "relu6")]
    shape = conv_output_shape(shape, 12, 1)
    for expansion, channels, blocks, stride in _LAYOUT:
        for index in range(blocks):
            step = stride if index == 0 else 1
            layers.append(InvertedResidual(shape, channels, 3, step, expansion, False, "relu6"))
            shape = conv_output_shape(shape, channels, step)
    trunk = torch.nn.Sequential(*layers)
    return StagedNetwork([NetworkStage(trunk, Classifier(shape[0], len(dataset.class_names)))])


if __name__ == "__main__":
    main()
