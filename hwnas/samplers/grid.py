"""A finite Optuna space as rows of integers: the position of each choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

Rows = NDArray[np.intp]


class Grid:
    """Every combination of the choices of a fixed set of parameters.

    Args:
        distributions: Of each parameter; categorical or of integers.

    Attributes:
        names: Of the d parameters, in the order of ``distributions``.
        sizes: Number of choices of each.
        n_points: Product of the sizes.

    Raises:
        ValueError: For a parameter that is not finite.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self.names = tuple(distributions)
        self._distributions = [_checked(name, d) for name, d in distributions.items()]
        self.sizes = tuple(_size(d) for d in self._distributions)
        self.n_points = math.prod(self.sizes)
        self._places = [
            {_key(c): i for i, c in enumerate(d.choices)}
            if isinstance(d, CategoricalDistribution)
            else None
            for d in self._distributions
        ]

    def row(self, parameters: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return the positions of a trial's parameters; ``None`` if it is none of the grid."""
        positions = []
        for name, distribution, places in zip(
            self.names, self._distributions, self._places, strict=True
        ):
            if name not in parameters:
                return None
            value = parameters[name]
            position = _position(distribution, places, value)
            if position is None:
                return None
            positions.append(position)
        return tuple(positions)

    def parameters(self, row: Sequence[int]) -> dict[str, Any]:
        """Return the parameters at positions."""
        return {
            name: distribution.choices[position]
            if isinstance(distribution, CategoricalDistribution)
            else distribution.low + int(position) * distribution.step
            for name, distribution, position in zip(
                self.names, self._distributions, row, strict=True
            )
        }

    def all_rows(self) -> Rows:
        """Return every point, shape ``(n_points, d)``."""
        indices = np.unravel_index(np.arange(self.n_points), self.sizes)
        return np.stack(indices, axis=1).astype(np.intp)

    def sample(self, n: int, rng: np.random.Generator) -> Rows:
        """Draw n points, each parameter uniformly; shape ``(n, d)``."""
        return rng.integers(self.sizes, size=(n, len(self.sizes)), dtype=np.intp)

    def features(self, rows: Rows) -> NDArray[np.float64]:
        """Return integers scaled to 0..1 and categories as indicators, shape ``(n, f)``."""
        parts = []
        for column, (distribution, size) in enumerate(
            zip(self._distributions, self.sizes, strict=True)
        ):
            if isinstance(distribution, IntDistribution):
                parts.append(rows[:, column, None] / max(size - 1, 1))
            else:
                parts.append((rows[:, column, None] == np.arange(size)).astype(np.float64))
        return np.concatenate(parts, axis=1)


def row_keys(rows: Rows) -> list[bytes]:
    """Return a hashable key of each row."""
    packed = np.ascontiguousarray(rows, dtype=np.int32)
    return [row.tobytes() for row in packed]


def _checked(
    name: str, distribution: BaseDistribution
) -> CategoricalDistribution | IntDistribution:
    if isinstance(distribution, CategoricalDistribution | IntDistribution):
        return distribution
    raise ValueError(
        f"{name}: wanted a categorical or an integer parameter. Got {distribution!r}; "
        "suggest the position of a value instead."
    )


def _size(distribution: CategoricalDistribution | IntDistribution) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    return (distribution.high - distribution.low) // distribution.step + 1


def _position(
    distribution: CategoricalDistribution | IntDistribution,
    places: Mapping[Any, int] | None,
    value: Any,
) -> int | None:
    if places is not None:
        return places.get(_key(value))
    integer = cast(IntDistribution, distribution)
    offset = int(value) - integer.low
    inside = integer.low <= value <= integer.high and offset % integer.step == 0
    return offset // integer.step if inside else None


def _key(value: Any) -> tuple[type, Any]:
    # True == 1: equal values of another type are another choice
    return type(value), value
