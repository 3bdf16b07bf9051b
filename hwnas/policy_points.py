"""What a trained candidate offers: a point of the objectives for every policy of its curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import moocore
import numpy as np

from hwnas.candidate_training import SplitResult, TrainingOutcome
from hwnas.costs import ArchitectureCosts
from hwnas.objectives import Constraint, Objective
from hwnas.pareto import ObjectiveScale, is_non_dominated
from hwnas.policy_curve import CurvePoint
from hwnas.study import Evaluated, Point

Judged: TypeAlias = SplitResult | CurvePoint
"""What has an accuracy and shares of samples that leave at each exit."""


@dataclass(frozen=True)
class Offer:
    """A trained candidate in the terms of a study.

    Args:
        outcome: Of its training, with the exit policy that stands for it.
        values: One per objective, under that policy: accuracy as judged, costs as predicted.
        violations: Under that policy, of the limits that only a training could judge.
        points: Values under each policy of ``outcome.curve``; ``None`` where it does not meet
            these limits.
    """

    outcome: TrainingOutcome
    values: Point
    violations: dict[str, float]
    points: tuple[Point | None, ...]


def offer_of(
    outcome: TrainingOutcome,
    costs: ArchitectureCosts,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
) -> Offer:
    """Return what a trained candidate offers.

    The configured policy stands for it, as a function of the candidate alone: a model that
    learns accuracies would take another choice for noise. Where that policy exceeds a limit,
    the most accurate one does that meets them all, if there is one.

    Args:
        outcome: Of a complete training.
        costs: Predicted.
        objectives: Of the study.
        constraints: Of the study.

    Raises:
        ValueError: If the training failed.
    """
    if outcome.validation is None:
        raise ValueError(f"a training that failed offers nothing: {outcome.failure}.")
    points = tuple(
        None
        if _exceeds(violations_of(p, costs, constraints))
        else objective_values(p, costs, objectives)
        for p in outcome.curve
    )
    judged = outcome.validation
    inside = [i for i, values in enumerate(points) if values is not None]
    if inside and _exceeds(violations_of(judged, costs, constraints)):
        outcome = outcome.under(outcome.curve[inside[0]])
        judged = outcome.validation or judged
    return Offer(
        outcome,
        objective_values(judged, costs, objectives),
        violations_of(judged, costs, constraints),
        points,
    )


def objective_values(
    judged: Judged, costs: ArchitectureCosts, objectives: Sequence[Objective]
) -> Point:
    """Return the objectives' values of a network: accuracy as judged, costs as predicted."""
    return tuple(
        judged.accuracy if o.name == "accuracy" else costs.expected(o.metric, judged.exit_shares)
        for o in objectives
    )


def violations_of(
    judged: Judged, costs: ArchitectureCosts, constraints: Sequence[Constraint]
) -> dict[str, float]:
    """Return the violations of the limits that only a training could judge."""
    predicted = costs.violations(constraints, judged.exit_shares)
    return {
        c.name: predicted[c.name] if c.is_on_costs else c.violation(judged.accuracy)
        for c in constraints
        if not c.is_known_before_training
    }


def with_best_policies(evaluated: Sequence[Evaluated], scale: ObjectiveScale) -> list[Evaluated]:
    """Give each candidate the exit policy that it stands on the front of all points by.

    Candidates that are on it by the policy that stands for them keep that one, and so do
    those that are on it by none. The others get the one of their points on it that adds most
    to the rest of it.

    Args:
        evaluated: Complete evaluations, with the points that they offer.
        scale: Between which values hypervolume is counted.

    Returns:
        The same, in their order, values and results under the policy that they have now.
    """
    owners, places, rows = [], [], []
    for owner, item in enumerate(evaluated):
        for place, values in enumerate(item.points):
            if values is not None:
                owners.append(owner)
                places.append(place)
                rows.append(values)
    if not rows:
        return list(evaluated)
    losses = scale.losses(np.array(rows))
    on_front = np.flatnonzero(is_non_dominated(losses))
    shares = moocore.hv_contributions(np.clip(losses[on_front], 0, 1), ref=np.ones(losses.shape[1]))
    best: dict[int, tuple[float, int]] = {}
    for row, share in zip(on_front, shares, strict=True):
        # of equals the first, which is the most accurate
        if (owner := owners[row]) not in best or share > best[owner][0]:
            best[owner] = (float(share), places[row])
    standing = {owners[row] for row in on_front if rows[row] == evaluated[owners[row]].values}
    return [
        _under(item, best[owner][1]) if owner in best and owner not in standing else item
        for owner, item in enumerate(evaluated)
    ]


def _under(evaluated: Evaluated, place: int) -> Evaluated:
    outcome = TrainingOutcome.from_dict(evaluated.result)
    result = {**evaluated.result, **outcome.under(outcome.curve[place]).to_dict()}
    return replace(evaluated, values=evaluated.points[place] or evaluated.values, result=result)


def _exceeds(violations: dict[str, float]) -> bool:
    return any(v > 0 for v in violations.values())
