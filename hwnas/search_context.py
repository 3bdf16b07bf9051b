"""What the phases of one running search share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwnas.config import ExperimentConfig
from hwnas.costs import CostModel
from hwnas.datasets import Dataset
from hwnas.objectives import Constraint, Objective
from hwnas.pareto import ObjectiveScale
from hwnas.progress import ProgressReporter
from hwnas.run_folder import RunFolder
from hwnas.study import SearchStudy
from search_spaces import SearchSpace
from targets import Target


@dataclass
class SearchContext:
    """One running search; the fields without a constructor argument come with preparation."""

    config: ExperimentConfig
    base_dir: Path
    run: RunFolder
    dataset: Dataset
    space: SearchSpace
    target: Target
    progress: ProgressReporter
    objectives: tuple[Objective, ...] = field(init=False)
    constraints: tuple[Constraint, ...] = field(init=False)
    costs: CostModel = field(init=False)
    scale: ObjectiveScale = field(init=False)
    study: SearchStudy = field(init=False)

    def training_seed(self, *stream: int) -> int:
        """Return the seed of one training, derived from the experiment's and a stream."""
        return int(np.random.SeedSequence([self.config.seed, *stream]).generate_state(1)[0] >> 1)
