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
        share = validation_fraction
    else:
        test, rest = _take(raw, everything, test_fraction, rng, "test")
        share = validation_fraction / (1 - test_fraction)
        if share >= 1:
            raise UserError(
                f"{raw.name}: validation_fraction + test_fraction must be below 1. "
                f"Got {validation_fraction} + {test_fraction}."
            )
    validation, train = _take(raw, rest, share, rng, "validation")
    missing = sorted(set(raw.y.tolist()) - set(raw.y[train].tolist()))
    if missing:
        raise UserError(
            f"{raw.name}: class {raw.class_names[missing[0]]!r} has no sample in the training "
            "split. Add samples, or change the fractions or split_seed."
        )
    return train, validation, test


def _take(
    raw: RawData, indices: Indices, fraction: float, rng: np.random.Generator, name: str
) -> tuple[Indices, Indices]:
    """Return a random share of ``indices`` and the rest, both sorted."""
    if raw.groups is None:
        return _take_stratified(raw, indices, fraction, rng, name)
    return _take_groups(raw, raw.groups, indices, fraction, rng, name)


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
    name: str,
) -> tuple[Indices, Indices]:
    names, counts = np.unique(groups[indices], return_counts=True)
    if len(names) < 2:
        raise UserError(
            f"{raw.name}: {len(names)} group left for the {name} and training splits; "
            "wanted at least 2, since a group is never in two splits."
        )
    order = rng.permutation(len(names))
    reached = np.cumsum(counts[order])
    # as many whole groups as come nearest to the share, at least one, never all
    n = int(np.argmin(np.abs(reached - fraction * len(indices)))) + 1
    chosen = names[order[: min(n, len(names) - 1)]]
    inside = np.isin(groups[indices], chosen)
    return indices[inside], indices[~inside]
