"""Which choices have no effect on a network, stated once for one architecture and for arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces._types import Choice
from search_spaces.chain import Source, value_of
from search_spaces.source_values import EncodedValues, SourceValues


@dataclass(frozen=True, eq=False)
class Collapse:
    """Replaces choices by others of the same effect.

    Args:
        sources: What tells which.
        replaced: Called with a value of each source, it returns the dimensions to replace,
            with their values. It must take every combination of them.
    """

    sources: tuple[Source, ...]
    replaced: Callable[..., Mapping[str, Choice]]


def collapsed(collapses: Iterable[Collapse], choices: Mapping[str, Choice]) -> dict[str, Choice]:
    """Return choices after one collapse and the next.

    Args:
        collapses: Of the space, in order: each sees what those before it left.
        choices: A value of every dimension.
    """
    result = dict(choices)
    for collapse in collapses:
        values = (value_of(source, result) for source in collapse.sources)
        result |= collapse.replaced(*values)
    return result


class RowCollapse:
    """The collapses of a space for rows of positions; what was asked once is remembered.

    Args:
        dimensions: Of the space.
        collapses: Of the space, in order.
    """

    def __init__(
        self, dimensions: Mapping[str, tuple[Choice, ...]], collapses: Iterable[Collapse]
    ) -> None:
        self._dimensions = dimensions
        self._values = SourceValues(dimensions)
        # what to put in each column, below 0 where a choice is kept
        self._known: list[tuple[Collapse, dict[int, NDArray[np.intp]]]] = [
            (collapse, {}) for collapse in collapses
        ]

    def __call__(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the canonical rows of rows, shape ``(n, d)``."""
        for collapse, known in self._known:
            keys, inverse = np.unique(
                EncodedValues(self._values, rows).joint(collapse.sources), return_inverse=True
            )
            for key in keys.tolist():
                if key not in known:
                    known[key] = self._replacement(collapse, key)
            if len(keys):
                put = np.stack([known[key] for key in keys.tolist()])[inverse]
                rows = np.where(put < 0, rows, put)
        return rows

    def _replacement(self, collapse: Collapse, key: int) -> NDArray[np.intp]:
        put = np.full(len(self._dimensions), -1, dtype=np.intp)
        values = self._values.split(collapse.sources, key)
        for name, value in collapse.replaced(*values).items():
            put[self._values.column[name]] = self._dimensions[name].index(value)
        return put
