"""What measures of confidence and temperatures save, chosen on validation and judged on test.

    python experiments/benchmarks/exit_policies.py experiments/quickstart.yaml
    HWNAS_DATA=FOLDER python experiments/benchmarks/exit_policies.py experiments/spoken_digits.yaml

Architectures with early exits are drawn from the experiment's space and trained as it says. Of
each, policies are chosen on the validation split with every measure, with and without
temperatures, and applied to the test split. The cost of a stage is its multiply-accumulates: no
board is needed. Costs are shares of those through the last exit, changes of accuracy are against
that exit on the same split; intervals are those of t over the networks (95 %). The time is that
of one whole curve on one processor, the shortest of five.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats

from hwnas.config import EarlyExitConfig, ExperimentConfig, load_config
from hwnas.datasets import Dataset, Split, load_dataset
from hwnas.early_exit import exit_shares, expected_cost
from hwnas.exit_policy import ExitPolicy
from hwnas.policy_curve import policy_curve
from hwnas.spaces import create_space
from hwnas.training import predict_logits, train
from search_spaces import total_macs
from search_spaces.initialize import initialize_weights

SETTINGS = [
    EarlyExitConfig(measure=measure, temperature_scaling=scaled)
    for measure in ("max_probability", "entropy", "margin", "auto")
    for scaled in (False, True)
]


@dataclass(frozen=True)
class Trained:
    """What a network answers, and what its stages cost."""

    validation: Sequence[np.ndarray]
    test: Sequence[np.ndarray]
    stage_costs: list[float]


@dataclass(frozen=True)
class Chosen:
    """A policy chosen on the validation split, and what it does.

    Args:
        policy: Chosen.
        validation: Change of accuracy against the last exit.
        test: The same on the test split.
        cost: On the test split, as a share of that of the last exit.
        curve_s: Processor time of the whole curve.
    """

    policy: ExitPolicy
    validation: float
    test: float
    cost: float
    curve_s: float


def networks(config: ExperimentConfig, dataset: Dataset, count: int) -> Iterator[Trained]:
    """Train architectures with early exits."""
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    rng = np.random.default_rng(config.seed)
    seed = 0
    while seed < count:
        architecture = space.sample(rng)
        stages = space.stages(architecture)
        if len(stages) == 1:
            continue
        network = space.build(architecture)
        initialize_weights(network, seed)
        train(network, dataset, config.training, seed)
        yield Trained(
            predict_logits(network, dataset.validation.x),
            predict_logits(network, dataset.test.x),
            [float(total_macs(stage.workloads)) for stage in stages],
        )
        seed += 1


def choose(network: Trained, dataset: Dataset, settings: EarlyExitConfig) -> Chosen:
    """Choose a policy as a search does, and judge it."""
    times = []
    for _ in range(5):
        began = time.process_time()
        curve = policy_curve(
            network.validation, dataset.validation.y, network.stage_costs, settings
        )
        times.append(time.process_time() - began)
    policy = curve.for_drop(settings.max_accuracy_drop).policy
    _, exits = policy.apply(network.test)
    shares = exit_shares(exits, len(network.stage_costs))
    return Chosen(
        policy,
        change(policy, network.validation, dataset.validation),
        change(policy, network.test, dataset.test),
        expected_cost(shares, network.stage_costs) / sum(network.stage_costs),
        min(times),
    )


def change(policy: ExitPolicy, logits: Sequence[np.ndarray], split: Split) -> float:
    """Return accuracy under a policy less that of the last exit."""
    predicted, _ = policy.apply(logits)
    return float(np.mean(predicted == split.y) - np.mean(logits[-1].argmax(axis=1) == split.y))


def interval(values: Sequence[float], scale: float = 100.0) -> str:
    """Return a mean and the half-width of its 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{scale * np.mean(values):.2f} ± {scale * half:.2f}"


def main() -> None:
    """Train, choose, judge and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--networks", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(arguments.experiment)
    dataset = load_dataset(config.dataset, arguments.experiment.resolve().parent)
    found = list(networks(config, dataset, arguments.networks))
    table = Table("measure", "scaled", "cost %", "validation, points", "test, points", "curve, ms")
    for settings in SETTINGS:
        chosen = [choose(network, dataset, settings) for network in found]
        table.add_row(
            settings.measure,
            "yes" if settings.temperature_scaling else "no",
            interval([c.cost for c in chosen]),
            interval([c.validation for c in chosen]),
            interval([c.test for c in chosen]),
            f"{1e3 * np.median([c.curve_s for c in chosen]):.1f}",
        )
        if settings.measure == "auto":
            table.caption = f"auto took {dict(Counter(c.policy.measure for c in chosen))}"
    console = Console(width=100)
    console.print(
        f"{len(found)} networks of {config.name}; {len(dataset.validation.y)} validation and "
        f"{len(dataset.test.y)} test samples"
    )
    console.print(table)


if __name__ == "__main__":
    main()
