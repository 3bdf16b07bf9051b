"""Values that follow from choices, for arrays of encodings: looked up, never computed twice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from search_spaces._types import Choice
from search_spaces.chain import Derived, Source

if TYPE_CHECKING:
    from search_spaces.encoding import Encodings

T = TypeVar("T", bound=Hashable)


class Numbering(Generic[T]):
    """Numbers different things from 0 on, in the order they come."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self.things: list[T] = []

    def number(self, thing: T) -> int:
        """Return the number of a thing, a new one if it never came."""
        if thing not in self._numbers:
            self._numbers[thing] = len(self.things)
            self.things.append(thing)
        return self._numbers[thing]


class SourceValues:
    """The values that the sources of a space can have, by number.

    Args:
        dimensions: Of the space; the number of a choice is its position.
    """

    def __init__(self, dimensions: Mapping[str, tuple[Choice, ...]]) -> None:
        self._dimensions = dimensions
        self.column = {name: column for column, name in enumerate(dimensions)}
        self._tables: dict[Derived, tuple[tuple[Any, ...], NDArray[np.intp]]] = {}

    def possible(self, source: Source) -> tuple[Any, ...]:
        """Return the different values of a source."""
        return self._dimensions[source] if isinstance(source, str) else self.table(source)[0]

    def sizes(self, sources: Sequence[Source]) -> list[int]:
        """Return how many different values each source has."""
        return [len(self.possible(source)) for source in sources]

    def table(self, derived: Derived) -> tuple[tuple[Any, ...], NDArray[np.intp]]:
        """Return the different values, and the number of the one for each `joint` of sources."""
        if derived not in self._tables:
            values = Numbering[Any]()
            numbers = [
                values.number(derived.function(*combination))
                for combination in product(*map(self.possible, derived.sources))
            ]
            self._tables[derived] = tuple(values.things), np.array(numbers, dtype=np.intp)
        return self._tables[derived]

    def split(self, sources: Sequence[Source], joint: int) -> list[Any]:
        """Return the value of each source that a number of `EncodedValues.joint` stands for."""
        values = []
        for source in reversed(sources):
            joint, number = divmod(joint, len(self.possible(source)))
            values.append(self.possible(source)[number])
        return values[::-1]


class EncodedValues:
    """The values of sources for n encodings.

    Args:
        values: Of the space.
        encodings: Shape ``(n, d)``.
    """

    def __init__(self, values: SourceValues, encodings: Encodings) -> None:
        self._values = values
        self._encodings = encodings
        self._numbers: dict[Source | tuple[Source, ...], NDArray[np.intp]] = {}

    def true(self, source: Source) -> NDArray[np.bool_]:
        """Return whether the value is true, shape ``(n,)``."""
        truth = np.array([bool(value) for value in self._values.possible(source)])
        return truth[self._number(source)]

    def joint(self, sources: tuple[Source, ...]) -> NDArray[np.intp]:
        """Return one number per combination of values, below the product of their sizes."""
        if sources not in self._numbers:
            sizes = self._values.sizes(sources)
            if prod(sizes) > np.iinfo(np.intp).max:
                raise ValueError(f"sources have {prod(sizes)} combinations of values; derive fewer")
            joint = np.zeros(len(self._encodings), dtype=np.intp)
            for source, size in zip(sources, sizes, strict=True):
                joint = joint * size + self._number(source)
            self._numbers[sources] = joint
        return self._numbers[sources]

    def _number(self, source: Source) -> NDArray[np.intp]:
        if source not in self._numbers:
            self._numbers[source] = (
                self._encodings[:, self._values.column[source]].astype(np.intp)
                if isinstance(source, str)
                else self._values.table(source)[1][self.joint(source.sources)]
            )
        return self._numbers[source]
