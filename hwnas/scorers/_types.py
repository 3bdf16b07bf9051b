"""The nouns of scoring: the scorer, what it works with, and the rungs it shares with others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from hwnas.candidate_training import SplitResult, TrainingOutcome, TrainingTask
    from hwnas.config import ExperimentConfig
    from hwnas.datasets import Dataset
    from search_spaces import SearchSpace


@dataclass(frozen=True)
class ScoringContext:
    """What a scorer has at hand, in the process that evaluates.

    Args:
        space: Search space.
        dataset: To train and judge on.
        config: Experiment.
        folder: Of the run, for what evaluations share, such as a supernet's weights.
    """

    space: SearchSpace
    dataset: Dataset
    config: ExperimentConfig
    folder: Path


class Rungs(Protocol):
    """What one evaluation tells and learns at points of its training, the rungs.

    Rungs count from 0. An evaluation that is repeated, its worker having died, does not
    find what it told before among the others: it is judged as if for the first time.
    """

    def losses(self, validation: SplitResult) -> tuple[float, ...]:
        """Return all objectives as losses, minimized: 0 is ideal, 1 the worst that counts."""
        ...

    def report(self, rung: int, losses: tuple[float, ...]) -> None:
        """Tell the other evaluations what this one has reached."""
        ...

    def others(self, rung: int) -> list[tuple[float, ...]]:
        """Return what every other evaluation has reported at a rung, in any order."""
        ...


@runtime_checkable
class AccuracyScorer(Protocol):
    """Gives architectures an accuracy. Made from a `ScoringContext`, once per process.

    `hwnas.scorers.testing.AccuracyScorerTestCase` is its contract.
    """

    def score(self, task: TrainingTask, rungs: Rungs) -> TrainingOutcome:
        """Judge an architecture on the validation split.

        A training that diverges, or is not worth ending, is a value. What comes back with
        accuracy has its weights in ``task.checkpoint``, and its ``scorer`` names this one.
        The result follows from the task and from what the rungs tell, not from torch's global
        random state.

        Args:
            task: What to judge.
            rungs: What other evaluations have reached.
        """
        ...
