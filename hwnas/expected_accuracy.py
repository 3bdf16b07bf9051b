"""How accurate other seeds are expected to be: one training tells of its architecture and of luck.

Of many trainings those that look best are the lucky ones, above all. What an architecture has in
common with those that resemble it is no luck: a Gaussian process of all trainings tells it apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hwnas.candidate_cost_model import CandidateCostModel
from hwnas.parameter_space import ParameterSpace
from hwnas.samplers.candidates import CandidateSpace
from hwnas.samplers.grid import Grid
from hwnas.samplers.guided_proposals import START
from hwnas.samplers.loss_scale import LossScale
from hwnas.samplers.outlook import Evaluations, Outlook
from hwnas.search_context import SearchContext
from hwnas.study import Evaluated, Point
from search_spaces.encoding import CanonicalEncodings

_ACCURACY = "accuracy"


def without_luck(context: SearchContext, evaluated: Sequence[Evaluated]) -> list[Evaluated]:
    """Return evaluations with the validation accuracies that other seeds are expected to reach.

    Args:
        context: Of the search.
        evaluated: Its complete evaluations; fewer than `START` tell nothing of each other, and
            are returned as they are, as are those of a search without this objective.
    """
    names = [objective.name for objective in context.objectives]
    if len(evaluated) < START or _ACCURACY not in names:
        return list(evaluated)
    column = names.index(_ACCURACY)
    luck = _luck(context, evaluated, column)
    return [_without(item, float(part), column) for item, part in zip(evaluated, luck, strict=True)]


def _luck(
    context: SearchContext, evaluated: Sequence[Evaluated], column: int
) -> NDArray[np.float64]:
    scale = LossScale.of_objectives(context.scale)
    values = np.array([item.values for item in evaluated])
    nothing = np.empty((0, values.shape[1]))
    space = _candidates(context)
    parameters = ParameterSpace(context.space)
    rows = np.array([parameters.positions_of(item.architecture) for item in evaluated])
    candidates = space.candidates(space.canonical(rows))
    evaluations = Evaluations(
        candidates=candidates,
        values=values,
        others=nothing,
        others_of=np.empty(0, dtype=np.intp),
        is_feasible=np.ones(len(values), dtype=np.bool_),
        pending=candidates[np.empty(0, dtype=np.intp)],
    )
    noise_std = np.where(np.arange(values.shape[1]) == column, np.nan, 0.0)
    with threadpool_limits(limits=1, user_api="blas"):
        denoised = Outlook(evaluations, scale, noise_std).denoised
    lost = (denoised - scale.losses(values))[:, column] / scale.slopes[column]
    # an accuracy stays one
    return np.asarray(np.clip(-lost, values[:, column] - 1, values[:, column]))


def _candidates(context: SearchContext) -> CandidateSpace:
    grid = Grid(ParameterSpace(context.space).distributions)
    costs = CandidateCostModel(context.costs, context.objectives, context.constraints)
    return CandidateSpace(
        grid, len(context.objectives), costs, CanonicalEncodings(context.space), None
    )


def _without(item: Evaluated, luck: float, column: int) -> Evaluated:
    def less(values: Point) -> Point:
        return tuple(v - luck if i == column else v for i, v in enumerate(values))

    points = tuple(None if values is None else less(values) for values in item.points)
    return replace(item, values=less(item.values), points=points, luck=luck)
