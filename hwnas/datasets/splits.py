"""Split samples by class, or by group where there are groups."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.datasets._types import RawData
from hwnas.errors import UserError

Indices: TypeAlias = NDArray[np.int64]


def split_indices(
    raw: RawData, validation_fraction: float, test_fraction: float, seed: int
) -> tuple[Indices, Indices, Indices]:
    """Return indices of the training, validation and test split.

    An official test set is kept; otherwise ``test_fraction`` is taken. Samples
    of one group are never in two splits. Without groups every class keeps its
    share in every split.

    Raises:
        UserError: If a class has too few samples, or there are too few groups.
    """
    rng = np.random.default_rng(seed)
    everything = np.arange(len(raw.y))
    if raw.official_test is not None:
        test, rest = everything[raw.official_test], everything[~raw.official_test]
        if len(test) == 0 or len(rest) == 0:
            raise UserError(f"{raw.name}: the test set holds {len(test)} of {len(raw.y)} samples.")
        _check_official_groups(raw, test, rest)
        share = validation_fraction
    else:
        share = validation_fraction / (1 - test_fraction)
        if share >= 1:
            raise UserError(
                f"{raw.name}: validation_fraction + test_fraction must be below 1. "
                f"Got {validation_fraction} + {test_fraction}."
            )
        test, rest = _take(raw, everything, test_fraction, rng, ("test", "validation", "training"))
    validation, train = _take(raw, rest, share, rng, ("validation", "training"))
    missing = sorted(set(raw.y.tolist()) - set(raw.y[train].tolist()))
    if missing:
        raise UserError(
            f"{raw.name}: class {raw.class_names[missing[0]]!r} has no sample in the training "
            "split. Add samples, or change the fractions or split_seed."
        )
    return train, validation, test


def _check_official_groups(raw: RawData, test: Indices, rest: Indices) -> None:
    if raw.groups is None:
        return
    shared = np.intersect1d(raw.groups[test], raw.groups[rest])
    if len(shared):
        raise UserError(
            f"{raw.name}: group {str(shared[0])!r} is in the test set and outside of it. Move "
            "its samples to one side, or name no groups to accept this."
        )


def _take(
    raw: RawData,
    indices: Indices,
    fraction: float,
    rng: np.random.Generator,
    splits: tuple[str, ...],
) -> tuple[Indices, Indices]:
    """Return a random share of ``indices``, for the first of ``splits``, and the rest; sorted."""
    if raw.groups is None:
        return _take_stratified(raw, indices, fraction, rng, splits[0])
    return _take_groups(raw, raw.groups, indices, fraction, rng, splits)


def _take_stratified(
    raw: RawData, indices: Indices, fraction: float, rng: np.random.Generator, name: str
) -> tuple[Indices, Indices]:
    taken = []
    for label in np.unique(raw.y[indices]):
        members = rng.permutation(indices[raw.y[indices] == label])
        n = round(fraction * len(members))
        if n < 1 or n >= len(members):
            raise UserError(
                f"{raw.name}: class {raw.class_names[int(label)]!r} has {len(members)} samples, "
                f"too few to take {fraction:.0%} for the {name} split and leave some."
            )
        taken.append(members[:n])
    chosen = np.sort(np.concatenate(taken))
    return chosen, np.setdiff1d(indices, chosen)


def _take_groups(
    raw: RawData,
    groups: NDArray[Any],
    indices: Indices,
    fraction: float,
    rng: np.random.Generator,
    splits: tuple[str, ...],
) -> tuple[Indices, Indices]:
    names, group = np.unique(groups[indices], return_inverse=True)
    if len(names) < len(splits):
        raise UserError(
            f"{raw.name}: {len(names)} groups for the {', '.join(splits)} splits; wanted at "
            f"least {len(splits)}, since a group is never in two splits."
        )
    order = rng.permutation(len(names))
    reached = np.cumsum(np.bincount(group)[order])
    # as many whole groups as come nearest to the share: at least one, and one left for each split
    n = int(np.argmin(np.abs(reached - fraction * len(indices)))) + 1
    inside = np.isin(group, order[: min(n, len(names) - len(splits) + 1)])
    return indices[inside], indices[~inside]
