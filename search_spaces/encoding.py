"""Architectures as rows of integers: the position of each choice in its dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search_spaces._types import Architecture, CollapsingSpace, SearchSpace
from search_spaces.collapse import RowCollapse

if TYPE_CHECKING:
    Encodings = NDArray[np.integer[Any]]


def encode(space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.intp]:
    """Return the encodings of architectures.

    Returns:
        Shape ``(n, d)``: position of each architecture's choice among those of each dimension,
        in the order of ``space.dimensions``.

    Raises:
        ValueError: For an architecture that is none of this space.
    """
    order = sorted(space.dimensions)
    positions = [{v: i for i, v in enumerate(space.dimensions[name])} for name in order]
    rows = np.empty((len(architectures), len(order)), dtype=np.intp)
    try:
        for row, arch in enumerate(architectures):
            if [name for name, _ in arch.choices] != order:
                raise KeyError(row)
            chosen = zip(positions, arch.choices, strict=True)
            rows[row] = [own[value] for own, (_, value) in chosen]
    except KeyError:
        raise ValueError(
            f"wanted architectures of the space {space.name!r}. Got {arch.to_dict()} at {row}; "
            "canonicalize its choices."
        ) from None
    return rows[:, [order.index(name) for name in space.dimensions]]


def decode(space: SearchSpace, encodings: Encodings) -> list[Architecture]:
    """Return the canonical architectures of encodings.

    Args:
        space: Space whose choices are encoded.
        encodings: Shape ``(n, d)``, canonical or not.

    Raises:
        ValueError: If an encoding is none of this space.
    """
    check_encodings(space, encodings)
    return [
        space.canonicalize(
            {name: own[i] for (name, own), i in zip(space.dimensions.items(), row, strict=True)}
        )
        for row in encodings.tolist()
    ]


class CanonicalEncodings:
    """Finds the encodings of the canonical architectures of encodings.

    Fast for a `CollapsingSpace`; of any other, each architecture is made canonical by itself.
    What is learned of a space is kept: use one object for all its encodings.

    Args:
        space: Any space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._collapse: RowCollapse | None = None
        if isinstance(space, CollapsingSpace):
            self._collapse = RowCollapse(space.dimensions, space.collapses)

    def __call__(self, encodings: Encodings) -> NDArray[np.intp]:
        """Return the canonical encodings, shape ``(n, d)``.

        Args:
            encodings: Shape ``(n, d)``.

        Raises:
            ValueError: If an encoding is none of this space.
        """
        if self._collapse is None:
            return encode(self._space, decode(self._space, encodings))
        check_encodings(self._space, encodings)
        return self._collapse(encodings.astype(np.intp))


def sample_encodings(space: SearchSpace, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw every dimension uniformly, as `SearchSpace.sample` does, but without canonicalizing.

    Two rows that differ can thus be one architecture, more often than two samples are.

    Returns:
        Shape ``(n, d)``.
    """
    sizes = [len(values) for values in space.dimensions.values()]
    return rng.integers(sizes, size=(n, len(sizes)), dtype=np.intp)


def check_encodings(space: SearchSpace, encodings: Encodings) -> None:
    """Refuse what is no encoding of architectures of a space.

    Raises:
        ValueError: Naming what was wanted and what came.
    """
    sizes = np.array([len(values) for values in space.dimensions.values()])
    if encodings.ndim != 2 or encodings.shape[1] != len(sizes) or encodings.dtype.kind not in "iu":
        raise ValueError(
            f"encodings: wanted integers of shape (n, {len(sizes)}). "
            f"Got {encodings.dtype} of shape {encodings.shape}."
        )
    wrong = np.argwhere((encodings < 0) | (encodings >= sizes))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"encodings: {list(space.dimensions)[column]} has positions 0 to "
            f"{sizes[column] - 1}. Got {encodings[row, column]} at row {row}."
        )
