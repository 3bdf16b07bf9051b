"""The greedy choice of a batch by what it is expected to add to the hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwnas.samplers.candidates import Candidates
from hwnas.samplers.hypervolume_improvement import ImprovableRegion
from hwnas.samplers.objective_models import Belief, ObjectiveModel

Array = NDArray[np.float64]

# one in so many is chosen to explore
_EXPLORED = 2
# in which a batch is chosen at most: each one takes long
_TURNS = 32
# of the largest variance before anything was chosen: below it is only what rounding leaves
_NEGLIGIBLE = 1e-9


def improvable(front: Array) -> ImprovableRegion:
    """Return what losses reached, shape ``(k, m)``, leave to be gained below 1."""
    return ImprovableRegion(front, np.ones(front.shape[1]))


def expected_gains(
    beliefs: Sequence[Belief], region: ImprovableRegion, *, exploring: bool = False
) -> Array:
    """Return by how much each of n candidates is expected to enlarge the hypervolume.

    Args:
        beliefs: Of each of m objectives.
        region: What was not reached.
        exploring: Whether models are taken to be less sure than they say.

    Returns:
        Shape ``(n,)``.
    """
    losses = [belief.losses(exploring=exploring) for belief in beliefs]
    means, stds = (np.stack(part, axis=1) for part in zip(*losses, strict=True))
    return region.expected_improvement(means, stds)


def greedy_batch(
    models: Sequence[ObjectiveModel], candidates: Candidates, region: ImprovableRegion, n: int
) -> list[int]:
    """Choose n candidates one after the other, each by its expected gain after the others.

    Of a candidate that was chosen the losses are taken to be what is expected; neighbours
    become as much surer as its evaluation will make them, whatever comes of it.

    Args:
        models: Of each of m objectives.
        candidates: To choose from; all of them where they are fewer than n.
        region: What was neither reached nor is awaited.
        n: How many.

    Returns:
        Their positions in ``candidates``, the first chosen first.

    References:
        Ginsbourger et al. (2010), Kriging is well-suited to parallelize optimization,
        Sec. 2.4 (kriging believer). doi:10.1007/978-3-642-10701-6_6
    """
    beliefs = [model.belief(candidates) for model in models]
    covariances = [model.covariance(candidates) for model in models]
    negligible = [_NEGLIGIBLE * float((b.shared + b.own).max()) for b in beliefs]
    free = np.ones(len(candidates), dtype=np.bool_)
    chosen: list[int] = []
    n = min(n, len(candidates))
    for turn in range(min(n, _TURNS)):
        exploring = turn % _EXPLORED == _EXPLORED - 1
        expected = expected_gains(beliefs, region, exploring=exploring)
        gains = np.where(free, expected, -np.inf)
        # in large batches some at once, as many in each turn
        many = (n - len(chosen)) // (min(n, _TURNS) - turn)
        best = np.argsort(-gains, kind="stable")[:many]
        reached = np.stack([belief.losses()[0][best] for belief in beliefs], axis=1)
        region = region.with_reached(reached)
        free[best] = False
        chosen += best.tolist()
        beliefs = [
            _believing(belief, covariance, best, least)
            for belief, covariance, least in zip(beliefs, covariances, negligible, strict=True)
        ]
    return chosen


def _believing(
    belief: Belief, covariance: Array, awaited: NDArray[np.intp], negligible: float
) -> Belief:
    """Return beliefs that await results of some candidates; changes the covariance, too.

    Copies of one candidate, and those whose neighbours were chosen before, have a singular
    covariance, up to rounding: only directions of more than negligible variance tell something.
    """
    joint = covariance[np.ix_(awaited, awaited)] + np.diag(belief.own[awaited])
    variances, directions = np.linalg.eigh(joint)
    telling = variances > negligible
    if not telling.any():
        return belief
    told = covariance[:, awaited] @ (directions[:, telling] / np.sqrt(variances[telling]))
    covariance -= told @ told.T
    shared = np.maximum(belief.shared - np.einsum("ij,ij->i", told, told), 0.0)
    return replace(belief, shared=shared)
