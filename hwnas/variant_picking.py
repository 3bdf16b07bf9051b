"""Pick the variants of a run that a bundle gets as its operating points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.config import ExperimentConfig
from hwnas.config_errors import did_you_mean
from hwnas.errors import UserError
from hwnas.objectives import objectives_of
from hwnas.operating_point_choice import choose_operating_points, of_one_kind
from hwnas.pareto import ObjectiveScale, knee
from hwnas.variants import Variant, Variants

ONLY_POINT = "default"
"""Name of the operating point of a bundle that has one."""

_RULES = ("knee", "best")
_ACCURACY = "validation_accuracy"


def pick_points(
    variants: Variants, front: Mapping[str, Any], config: ExperimentConfig, pick: str | None
) -> dict[str, Variant]:
    """Return operating points by name, the most accurate first.

    Args:
        variants: Of the run.
        front: Its ``front.json``: between which values hypervolume is counted.
        config: Of the experiment.
        pick: ``knee``; ``best``, by validation accuracy; an ``arch_id``, for the network as it
            was searched; a ``variant_id``; or none, for up to three that cover the front.

    Raises:
        UserError: If there is no such variant, or none on the front.
    """
    by_id = {v.variant_id: v for v in variants.variants}
    if pick in by_id:
        return {ONLY_POINT: by_id[pick]}
    of_architecture = [v for v in variants.variants if v.form.arch_id == pick]
    if of_architecture:
        return {ONLY_POINT: min(of_architecture, key=_distance_from_search)}
    if pick is not None and pick not in _RULES:
        wanted = [*_RULES, *dict.fromkeys(v.form.arch_id for v in variants.variants)]
        hint = did_you_mean(pick, [*wanted, *by_id])
        raise UserError(
            f"--pick {pick}: wanted {', '.join(wanted)}, or a variant_id of variants.json.{hint}"
        )
    if not variants.front:
        raise UserError(
            "no measured variant meets the limits. Pick an arch_id with --pick, or search with "
            "other limits."
        )
    members = _confirmed(variants.front)
    if pick == "best":
        return {ONLY_POINT: max(members, key=lambda v: v.metrics[_ACCURACY].chosen_by)}
    objectives = objectives_of(config.objectives)
    bounds = front["hypervolume"]
    scale = ObjectiveScale(objectives, tuple(bounds["ideal"]), tuple(bounds["reference"]))
    if pick is None:
        return choose_operating_points(members, objectives, scale)
    members = of_one_kind(members)
    values = np.array([[v.metrics[o.metric].chosen_by for o in objectives] for v in members])
    return {ONLY_POINT: members[knee(scale.losses(values))]}


def _distance_from_search(variant: Variant) -> tuple[bool, bool, bool, int, int]:
    form = variant.form
    return (
        variant.device_point is not None,
        form.training != "plain",
        form.precision != "float32",
        -len(form.models),
        variant.policy_index,
    )


def _confirmed(members: Sequence[Variant]) -> Sequence[Variant]:
    """Return those whose accuracy several seeds confirmed, or all where there are none."""
    confirmed = [v for v in members if (v.metrics[_ACCURACY].seeds or 0) > 1]
    return confirmed or members
