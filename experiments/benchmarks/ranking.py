"""How well each score ranks the architectures of an experiment, and what it costs.

    HWNAS_DATA=FOLDER python experiments/benchmarks/ranking.py experiments/spoken_digits.yaml

Architectures drawn at random are trained with several seeds. Training-free scores, the rungs of
successive halving and a supernet are judged by the accuracies of seeds they have no part in,
against the ceiling that training again sets. No board is needed: exit thresholds weigh stages by
their multiply-accumulates.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import compress
from pathlib import Path

import numpy as np
import torch

from hwnas.candidate_training import TrainingTask
from hwnas.config import load_config
from hwnas.datasets import load_dataset
from hwnas.ladder_text import ladder_lines
from hwnas.ranking_quality import CandidateScores, RankingSample
from hwnas.scorers import ScoringContext
from hwnas.scorers.reseeded import ReseededTraining
from hwnas.scorers.supernet import inherited_scores
from hwnas.scorers.testing import RungsInMemory
from hwnas.scorers.training_free import TRAINING_FREE, TrainingFreeScores
from hwnas.scoring_ladder import LadderChoice, choose_ladder
from hwnas.spaces import create_space
from latency_predictors.coverage import distinct_architectures
from search_spaces import Architecture, total_macs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--no-supernet", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(arguments.config, arguments.set)
    dataset = load_dataset(config.dataset, arguments.config.parent)
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    with tempfile.TemporaryDirectory() as folder:
        context = ScoringContext(space, dataset, config, Path(folder))
        choice = rank(context, with_supernet=not arguments.no_supernet)
    print("\n".join(ladder_lines(choice)))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(choice), indent=1))


def rank(context: ScoringContext, *, with_supernet: bool) -> LadderChoice:
    """Train the experiment's ranking sample and judge every score by it."""
    config = context.config
    rng = np.random.default_rng(config.seed)
    n = config.accuracy.ranking.architectures
    drawn = list(distinct_architectures(context.space, n, rng))
    trainer = ReseededTraining(context)
    tasks = [_task(context, arch, config.seed + number) for number, arch in enumerate(drawn)]
    outcomes = [trainer.score(task, RungsInMemory()) for task in tasks]
    # a training that diverged leaves no curve
    whole = [len(outcome.curves) == config.accuracy.ranking.seeds for outcome in outcomes]
    sample = RankingSample.of(list(compress(outcomes, whole)))
    architectures = list(compress(drawn, whole))
    budget = config.search.evaluations * sample.full.cpu_s
    return choose_ladder(
        sample,
        budget,
        config.accuracy.halving.reduction,
        config.seed,
        training_free=training_free(context, architectures),
        inherited=inherited_scores(context, architectures) if with_supernet else None,
    )


def training_free(
    context: ScoringContext, architectures: Sequence[Architecture]
) -> list[CandidateScores]:
    """Score without training; the cost is that of all three, shared evenly."""
    began = time.process_time()
    scores = TrainingFreeScores(context.space, context.dataset, context.config.seed)
    values = scores(architectures)
    cpu_s = (time.process_time() - began) / len(architectures) / len(TRAINING_FREE)
    return [
        CandidateScores(name, column, cpu_s)
        for name, column in zip(TRAINING_FREE, values.T, strict=True)
    ]


def _task(context: ScoringContext, arch: Architecture, seed: int) -> TrainingTask:
    stages = context.space.stages(arch)
    costs = tuple(float(total_macs(stage.workloads)) for stage in stages)
    nowhere = context.folder / "unused"
    return TrainingTask(arch, seed, costs, nowhere, keep_weights=False)


def as_json(choice: LadderChoice) -> dict[str, object]:
    return {
        "accuracy": choice.sample.accuracy.tolist(),
        "scores": [asdict(score) for score in choice.scores],
        "ladders": [
            {
                "name": quality.ladder.name,
                "cpu_s": quality.ladder.cpu_s,
                "candidates": quality.candidates,
                "gain": asdict(quality.gain),
                "chance": quality.chance,
            }
            for quality in choice.considered
        ],
        "chosen": choice.chosen.name,
    }


if __name__ == "__main__":
    main()
