"""A search whose members are not trained but made up: quick to derive variants from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.candidate_training import TrainingTask, judge_candidate, write_weights
from hwnas.config import ExperimentConfig
from hwnas.datasets import Dataset, Split
from hwnas.front import Candidate, Deployment, Metric
from hwnas.progress import SilentProgress
from hwnas.retraining import finalist_seeds
from hwnas.run_folder import RunFolder
from hwnas.search_context import SearchContext
from hwnas.search_plan import SearchPlan
from hwnas.spaces import create_space
from search_spaces.initialize import initialize_weights
from targets import Target
from tests.unit.hwnas.law_costs import ENERGY_MODEL, law_costs
from tests.unit.hwnas.quantized_networks import CLASSES, samples

_CHOICES = {
    "stem_width": [8],
    "depth": [1],
    "kernel": [3],
    "expansion": [1, 2],
    "se": [0],
    "activation": ["relu6"],
    "exit_after": [1],
    "exit_width": [0, 8],
}


def random_dataset(n: int = 60) -> Dataset:
    """Return random samples with random classes, ``n`` in each split."""
    rng = np.random.default_rng(0)
    train, validation, test = (
        Split(samples(n, seed), rng.integers(0, CLASSES, n)) for seed in range(3)
    )
    return Dataset("random", tuple(map(str, range(CLASSES))), train, validation, test, {})


def untrained_search(
    folder: Path, target: Target, dataset: Dataset, **deployment: Any
) -> SearchContext:
    """Return a search of two-stage networks after its front was found.

    Args:
        folder: Of its run; must not exist.
        target: To measure on, open.
        dataset: Of samples ``(1, 8, 8)``.
        deployment: Settings.
    """
    config = ExperimentConfig.model_validate(
        {
            "name": "untrained",
            "dataset": {"kind": "digits"},
            "space": {"name": "early_exit", "n_stages": 2, "choices": _CHOICES},
            "training": {"epochs": 1, "device": "cpu"},
            "objectives": ["accuracy", "latency"],
            "finalists": {"count": 2, "seeds": 2},
            "deployment": deployment,
        }
    )
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True)
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    context = SearchContext(config, folder, run, dataset, space, target, SilentProgress())
    context.costs = law_costs(space)
    ideal, reference = (1.0, 1e-7), (0.0, 1.0)
    predictors = context.costs._predictors
    context.plan = SearchPlan(config, folder, "", ENERGY_MODEL, ideal, reference, predictors)
    return context


def finalist(context: SearchContext, number: int, latency_s: float = 1e-5) -> Candidate:
    """Return a front member with random weights, written as if trained with every seed.

    Args:
        context: The search.
        number: Draws the architecture.
        latency_s: Said to have been measured.
    """
    arch = context.space.sample(np.random.default_rng(number))
    outcomes = []
    for seed in finalist_seeds(context):
        network = context.space.build(arch).eval()
        initialize_weights(network, seed)
        checkpoint = context.run.checkpoint(arch.arch_id, seed)
        task = TrainingTask(arch, seed, (1.0, 1.0), checkpoint, True, max_accuracy_drop=0.0)
        outcome = judge_candidate(network, task, context.dataset, context.config)
        write_weights(network, checkpoint)
        checkpoint.with_suffix(".json").write_text(json.dumps(outcome.to_dict()))
        outcomes.append((seed, checkpoint, outcome))
    seed, checkpoint, outcome = outcomes[0]
    assert outcome.validation is not None
    deployment = Deployment(
        checkpoint.name, seed, outcome.policy, outcome.validation.exit_shares, 0.0
    )
    metrics = {
        "validation_accuracy": Metric(outcome.validation.accuracy, "measured", seeds=2),
        "latency_s": Metric(latency_s, "measured"),
    }
    return Candidate(number, arch, metrics, deployment, on_front=True)
