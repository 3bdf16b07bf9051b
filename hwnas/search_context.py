"""What the phases of one running search share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hwnas.config import ExperimentConfig
    from hwnas.costs import CostModel
    from hwnas.datasets import Dataset
    from hwnas.objectives import Constraint, Objective
    from hwnas.pareto import ObjectiveScale
    from hwnas.progress import ProgressReporter
    from hwnas.run_folder import RunFolder
    from hwnas.search_plan import SearchPlan
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
    plan: SearchPlan = field(init=False)
    costs: CostModel = field(init=False)
    study: SearchStudy = field(init=False)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimized."""
        return self.plan.objectives

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The limits, in SI units."""
        return self.plan.constraints

    @property
    def scale(self) -> ObjectiveScale:
        """How objectives become losses."""
        return self.plan.scale

    def training_seed(self, *stream: int) -> int:
        """Return the seed of one training, derived from the experiment's and a stream."""
        return self.plan.training_seed(*stream)
