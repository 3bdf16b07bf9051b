"""A once-for-all network: architectures inherit weights, and need no training of their own."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from hwnas.candidate_training import (
    TrainingOutcome,
    TrainingTask,
    judge_candidate,
    save_weights,
)
from hwnas.ranking_quality import CandidateScores
from hwnas.scorers._types import Rungs, ScoringContext
from hwnas.scorers.shared_weights import check_shareable, copy_into
from hwnas.scorers.supernet_training import Supernet, recalibrate_batch_norm, train_supernet
from hwnas.training import train
from search_spaces import Architecture, total_macs

SUPERNET_FILE = "supernet.safetensors"

_RECALIBRATION_BATCHES = 8
_RECALIBRATION_BATCH = 128
# weights that are nearly right would be lost at a full training's peak
_FINE_TUNE_RATE = 0.1


class InheritedWeights:
    """Judges architectures with weights sliced from a supernet.

    The supernet is trained once per run, by whichever worker asks first, and kept in the
    run's folder; workers that share no folder train equal ones. Each architecture gets batch-norm
    statistics of its own from the training split, and is trained for
    ``accuracy.supernet.fine_tune_epochs`` where there are any.

    Args:
        context: What it works with.

    Raises:
        UserError: If networks of the space cannot share weights.

    References:
        Cai et al. (2020), Once-for-All. arXiv:1908.09791
    """

    def __init__(self, context: ScoringContext) -> None:
        check_shareable(context.space)
        self._context = context

    def score(self, task: TrainingTask, rungs: Rungs) -> TrainingOutcome:
        """Inherit, recalibrate, judge; see `AccuracyScorer`."""
        return self.judge(task)

    def judge(self, task: TrainingTask) -> TrainingOutcome:
        """Do as `score`, which asks nothing of the rungs."""
        if self._supernet is None:
            return TrainingOutcome(
                failure="the supernet's training diverged: its loss is not finite",
                scorer="supernet",
            )
        began, wall = time.process_time(), time.perf_counter()
        context = self._context
        network = context.space.build(task.architecture)
        copy_into(network, self._supernet.weights.of(task.architecture, network))
        recalibrate_batch_norm(network, self._batches)
        epochs = context.config.accuracy.supernet.fine_tune_epochs
        if epochs:
            training = context.config.training
            rate = _FINE_TUNE_RATE * training.learning_rate
            update = {"epochs": epochs, "learning_rate": rate}
            settings = training.model_copy(update=update)
            if train(network, context.dataset, settings, task.seed).diverged:
                return TrainingOutcome(failure="fine-tuning diverged", scorer="supernet")
        outcome = judge_candidate(network, task, context.dataset, context.config)
        save_weights(network, task)
        return replace(
            outcome,
            epochs=epochs,
            seconds=time.perf_counter() - wall,
            cpu_s=time.process_time() - began,
            scorer="supernet",
        )

    @property
    def training_cpu_s(self) -> float:
        """Processor seconds that the supernet's training took; 0 where it diverged."""
        return 0.0 if self._supernet is None else self._supernet.cpu_s

    @cached_property
    def _supernet(self) -> Supernet | None:
        """The run's, trained now where there is none; ``None`` where it diverges."""
        context = self._context
        seed = context.config.seed
        path = context.folder / SUPERNET_FILE
        context.folder.mkdir(parents=True, exist_ok=True)
        # one worker trains while the others wait; the lock goes with the process that holds it
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return Supernet.load(path, context.space, seed)
            trained = train_supernet(context.space, context.dataset, context.config, seed)
            if trained is not None:
                trained.save(path)
            return trained

    @cached_property
    def _batches(self) -> list[torch.Tensor]:
        """Samples of the training split, the same for every architecture."""
        x = self._context.dataset.train.x
        rng = np.random.default_rng(self._context.config.seed)
        n = min(len(x), _RECALIBRATION_BATCHES * _RECALIBRATION_BATCH)
        chosen = rng.choice(len(x), size=n, replace=False)
        parts = max(1, n // _RECALIBRATION_BATCH)
        return [torch.from_numpy(x[part]) for part in np.array_split(chosen, parts)]


def inherited_scores(
    context: ScoringContext, architectures: Sequence[Architecture]
) -> CandidateScores | None:
    """Score architectures with inherited weights, to see how well these rank.

    Exit thresholds weigh stages by their multiply-accumulates: what is judged is accuracy.

    Returns:
        Accuracies under the exit policies; ``None`` where the supernet's training diverges.
    """
    scorer = InheritedWeights(context)
    outcomes = []
    for arch in architectures:
        stages = context.space.stages(arch)
        costs = tuple(float(total_macs(stage.workloads)) for stage in stages)
        nowhere = context.folder / SUPERNET_FILE
        task = TrainingTask(arch, context.config.seed, costs, nowhere, keep_weights=False)
        outcomes.append(scorer.judge(task))
    accuracy = [o.validation.accuracy for o in outcomes if o.validation is not None]
    if len(accuracy) < len(architectures):
        return None
    cpu_s = float(np.mean([o.cpu_s for o in outcomes]))
    name = "inherited weights"
    return CandidateScores(name, np.array(accuracy), cpu_s, scorer.training_cpu_s)
