"""The sampler that an experiment names, with what it must know of the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from hwnas.builtin_samplers import builtin_sampler
from hwnas.candidate_cost_model import CandidateCostModel
from hwnas.costs import CostModel
from hwnas.parameter_space import ParameterSpace
from hwnas.sampler_mirror import SamplerFactory
from hwnas.samplers.pareto_guided import ParetoGuidedSampler
from hwnas.search_plan import SearchPlan
from search_spaces import SearchSpace
from search_spaces.encoding import CanonicalEncodings

Scores: TypeAlias = Callable[[NDArray[np.intp]], NDArray[np.float64]]


@dataclass
class CandidateFilter:
    """Scores that need no training, for the sampler: once first trainings tell that they pay.

    Args:
        scores: Of encodings of shape ``(n, d)``, shape ``(n, k)``.
        from_number: Trials before it are proposed without them.
        pays: Whether it was told that they do.
    """

    scores: Scores
    from_number: int
    pays: bool = False


def sampler_of(
    plan: SearchPlan,
    space: SearchSpace,
    costs: CostModel,
    candidate_filter: CandidateFilter | None = None,
) -> SamplerFactory:
    """Return what makes the sampler of each trial.

    Args:
        plan: Names the sampler and the seed.
        space: Searched.
        costs: Of its architectures.
        candidate_filter: For ``pareto_guided``; the others know no such thing.
    """
    settings = plan.config.search
    if settings.sampler != "pareto_guided":
        return builtin_sampler(settings.sampler, plan.config.seed)
    return _Guided(plan, space, costs, candidate_filter).of


class _Guided:
    """The guided sampler without and with a filter, each made when it is first needed."""

    def __init__(
        self,
        plan: SearchPlan,
        space: SearchSpace,
        costs: CostModel,
        candidate_filter: CandidateFilter | None,
    ) -> None:
        self._plan, self._space, self._costs = plan, space, costs
        self._filter = candidate_filter
        batch = plan.config.search.batch
        # proposals come in whole blocks: one that has begun goes on as it began
        self._from = -(-candidate_filter.from_number // batch) * batch if candidate_filter else 0

    def of(self, number: int) -> BaseSampler:
        """Return the sampler of a trial."""
        if self._filter is not None and self._filter.pays and number >= self._from:
            return self._filtered
        return self._plain

    @cached_property
    def _plain(self) -> BaseSampler:
        return self._make(None)

    @cached_property
    def _filtered(self) -> BaseSampler:
        return self._make(self._filter.scores if self._filter else None)

    def _make(self, refine: Scores | None) -> BaseSampler:
        plan = self._plan
        return ParetoGuidedSampler(
            distributions=ParameterSpace(self._space).distributions,
            seed=plan.config.seed,
            costs=CandidateCostModel(self._costs, plan.objectives, plan.constraints),
            canonicalize=CanonicalEncodings(self._space),
            batch=plan.config.search.batch,
            # another seed trains to another accuracy: by how much, nothing tells beforehand
            noise_std=[np.nan if o.name == "accuracy" else 0.0 for o in plan.objectives],
            refine=refine,
            scale=plan.scale,
        )
