"""Choose the few variants of a front that a device switches between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.objectives import Objective
from hwnas.pareto import ObjectiveScale, is_non_dominated
from hwnas.variants import Variant

NAMES = ("high", "balanced", "low")
"""Operating points from the most accurate to the cheapest."""

_ACCURACY, _ENERGY = "validation_accuracy", "energy_j"


def choose_operating_points(
    front: Sequence[Variant], objectives: Sequence[Objective], scale: ObjectiveScale
) -> dict[str, Variant]:
    """Choose up to three members of a front of variants that cover it best.

    Only members `of_one_kind`, that no other one beats in both accuracy and energy: what is
    switched to with a loss of accuracy is to save energy. One after the other, the member is
    taken that adds most hypervolume to those chosen: together they have at least 63 % of what the
    best three have.

    Args:
        front: Mutually non-dominated variants, at least one.
        objectives: What was optimized.
        scale: Between which values hypervolume is counted.

    Returns:
        By name, from the most accurate to the one of least energy: ``high``, ``balanced``,
        ``low``; the middle one is missing of two, and one alone is ``high``.

    References:
        Nemhauser, Wolsey & Fisher (1978), An analysis of approximations for maximizing
        submodular set functions, Sec. 4 (greedy choice). doi:10.1007/BF01588971
    """
    front = of_one_kind(front)
    worth = np.array([[-v.metrics[_ACCURACY].chosen_by, v.metrics[_ENERGY].value] for v in front])
    members = [v for v, kept in zip(front, is_non_dominated(worth), strict=True) if kept]
    values = np.array([[v.metrics[o.metric].chosen_by for o in objectives] for v in members])
    chosen = [members[i] for i in _greedy(values, scale, len(NAMES))]
    chosen.sort(key=lambda v: (-v.metrics[_ACCURACY].chosen_by, -v.metrics[_ENERGY].value))
    names = NAMES if len(chosen) == len(NAMES) else (NAMES[0], NAMES[-1])
    return dict(zip(names, chosen, strict=False))


def of_one_kind(front: Sequence[Variant]) -> list[Variant]:
    """Return members whose energies compare: those with a measured one, where there are any.

    Args:
        front: At least one.
    """
    kind = min((v.metrics[_ENERGY].provenance for v in front), key=lambda p: p != "measured")
    return [v for v in front if v.metrics[_ENERGY].provenance == kind]


def _greedy(values: NDArray[np.float64], scale: ObjectiveScale, count: int) -> list[int]:
    """Return the rows that add most hypervolume, in the order of their choice."""
    chosen: list[int] = []
    for _ in range(min(count, len(values))):
        rest = [i for i in range(len(values)) if i not in chosen]
        gains = [scale.hypervolume(values[[*chosen, i]]) for i in rest]
        chosen.append(rest[int(np.argmax(gains))])
    return chosen
