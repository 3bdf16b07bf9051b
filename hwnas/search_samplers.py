"""The sampler that an experiment names, with what it must know of the search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.builtin_samplers import builtin_sampler
from hwnas.candidate_cost_model import CandidateCostModel
from hwnas.costs import CostModel
from hwnas.parameter_space import ParameterSpace
from hwnas.sampler_mirror import SamplerFactory
from hwnas.search_plan import SearchPlan
from search_spaces import SearchSpace
from search_spaces.encoding import decode, encode


def sampler_of(plan: SearchPlan, space: SearchSpace, costs: CostModel) -> SamplerFactory:
    """Return what makes the sampler of each trial.

    Args:
        plan: Names the sampler and the seed.
        space: Searched.
        costs: Of its architectures.
    """
    settings = plan.config.search
    if settings.sampler != "pareto_guided":
        return builtin_sampler(settings.sampler, plan.config.seed)
    from hwnas.samplers.pareto_guided import ParetoGuidedSampler

    sampler = ParetoGuidedSampler(
        distributions=ParameterSpace(space).distributions,
        seed=plan.config.seed,
        costs=CandidateCostModel(costs, plan.objectives, plan.constraints),
        canonicalize=lambda rows: _canonical(space, rows),
        batch=settings.batch,
        scale=plan.scale,
    )
    return lambda number: sampler


def _canonical(space: SearchSpace, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the encodings of the architectures that encodings stand for."""
    return encode(space, decode(space, rows))
