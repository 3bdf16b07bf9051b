"""Features of arrays of architectures, without building the graph of each one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from latency_predictors._types import Graph
from latency_predictors.features import GraphFeatures, graph_features
from search_spaces import ChainedSpace, SearchSpace, Shape
from search_spaces.encoding import check_encodings, decode
from search_spaces.source_values import EncodedValues, Numbering, SourceValues

if TYPE_CHECKING:
    from search_spaces.chain import Link, Source
    from search_spaces.encoding import Encodings

# Rows handled at once: what they need stays in the processor's cache.
_ROWS = 8192


class SpaceFeatures:
    """What `graph_features` gives for the stages of a space's architectures, from encodings.

    For a `ChainedSpace` only the links that were never seen are built; all else is arithmetic
    on arrays. Any other space is asked for the stages of one architecture after the other.
    What is learned of a space is kept: use one object for all its architectures.

    Args:
        space: Any space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._links = _Links(space) if isinstance(space, ChainedSpace) else None

    def of(self, encodings: Encodings) -> tuple[GraphFeatures, NDArray[np.intp]]:
        """Return the features of every stage, and whose stage it is.

        Args:
            encodings: Shape ``(n, d)``: see `search_spaces.encoding.encode`; canonical or not.

        Returns:
            Features of m stages, in the order of the architectures and of execution, and shape
            ``(m,)``: the row in ``encodings`` that each one belongs to.

        Raises:
            LookupError: For an operator whose multiply-accumulates are not defined.
            ValueError: If an encoding is none of this space.
        """
        check_encodings(self._space, encodings)
        if self._links is None or not len(encodings):
            return self._one_by_one(encodings)
        chunks = [encodings[start : start + _ROWS] for start in range(0, len(encodings), _ROWS)]
        # all links are known before any features are gathered: they share columns
        placed = [self._links.place(chunk) for chunk in chunks]
        parts = [self._links.gather(chunk) for chunk in placed]
        n_stages = np.concatenate([chunk.n_stages for chunk in placed])
        return _stacked(parts), np.repeat(np.arange(len(encodings)), n_stages)

    def _one_by_one(self, encodings: Encodings) -> tuple[GraphFeatures, NDArray[np.intp]]:
        stages = [self._space.stages(arch) for arch in decode(self._space, encodings)]
        features = graph_features([stage.workloads for own in stages for stage in own])
        owners = np.repeat(np.arange(len(stages)), [len(own) for own in stages])
        return features, owners


@dataclass(frozen=True)
class _Placed:
    """Which parts n architectures are made of.

    Args:
        parts: Shape ``(n, links)``: row in the table of parts, 0 where the link is left out.
        ends: Shape ``(n, links)``: whether a stage ends with the link.
    """

    parts: NDArray[np.int32]
    ends: NDArray[np.bool_]

    @property
    def n_stages(self) -> NDArray[np.intp]:
        return np.asarray(self.ends.sum(axis=1))


class _Links:
    """The links of a space, and every part they were seen to give."""

    def __init__(self, space: ChainedSpace) -> None:
        self._links = space.links
        self._values = SourceValues(space.dimensions)
        self._shapes = Numbering[Shape]()
        self._shapes.number(tuple(space.input_shape))
        self._parts = _Parts()
        # links that differ in nothing but when they are present share what they give
        self._known: dict[tuple[Any, tuple[Source, ...]], dict[int, int]] = {
            (link.workloads, link.arguments): {} for link in self._links
        }

    def place(self, encodings: Encodings) -> _Placed:
        """Find the part that each link gives each architecture; build those never seen."""
        values = EncodedValues(self._values, encodings)
        shapes = np.zeros(len(encodings), dtype=np.intp)
        parts = np.zeros((len(encodings), len(self._links)), dtype=np.int32)
        ends = np.zeros(parts.shape, dtype=np.bool_)
        for column, link in enumerate(self._links):
            rows = np.flatnonzero(values.true(link.present))
            found = self._find(link, shapes[rows], values.joint(link.arguments)[rows])
            parts[rows, column] = found
            if link.is_head:
                ends[rows, column] = True
            else:
                shapes[rows] = self._parts.output_shapes[found]
        return _Placed(parts, ends)

    def gather(self, placed: _Placed) -> GraphFeatures:
        """Sum the features of the parts of each stage."""
        table = self._parts.features
        parts = placed.parts.ravel()
        bounds = np.concatenate([[0], np.flatnonzero(placed.ends) + 1])
        members = csr_array((np.ones(len(parts)), parts, bounds), (len(bounds) - 1, len(table)))
        sums = members @ table.sums.reshape(len(table), -1)
        peaks = np.maximum.reduceat(table.peak_bytes[parts], bounds[:-1])
        return GraphFeatures(table.kinds, sums.reshape(-1, *table.sums.shape[1:]), peaks)

    def _find(
        self, link: Link, shapes: NDArray[np.intp], arguments: NDArray[np.intp]
    ) -> NDArray[np.int32]:
        """Return the parts that a link gives for numbers of shapes and of joint arguments."""
        known = self._known[link.workloads, link.arguments]
        n_arguments = prod(self._values.sizes(link.arguments))
        keys, inverse = np.unique(shapes * n_arguments + arguments, return_inverse=True)
        for key in keys.tolist():
            if key not in known:
                known[key] = self._build(link, *divmod(key, n_arguments))
        return np.array([known[key] for key in keys.tolist()], dtype=np.int32)[inverse]

    def _build(self, link: Link, shape: int, arguments: int) -> int:
        values = self._values.split(link.arguments, arguments)
        workloads = link.workloads(self._shapes.things[shape], *values)
        return self._parts.add(workloads, self._shapes.number(workloads[-1].output_shape))


class _Parts:
    """A table of different parts; the first one is nothing, for links that are left out."""

    def __init__(self) -> None:
        self._features = graph_features([()])
        self._new: list[Graph] = []
        self._shapes = [0]
        self._output_shapes = np.zeros(1, dtype=np.intp)

    def add(self, workloads: Graph, output_shape: int) -> int:
        """Append a part and the number of the shape it hands on; return its row."""
        self._new.append(workloads)
        self._shapes.append(output_shape)
        return len(self._shapes) - 1

    @property
    def output_shapes(self) -> NDArray[np.intp]:
        """Number of the shape that each part hands on."""
        if len(self._output_shapes) < len(self._shapes):
            self._output_shapes = np.array(self._shapes, dtype=np.intp)
        return self._output_shapes

    @property
    def features(self) -> GraphFeatures:
        """A row per part."""
        if self._new:
            self._features = _stacked([self._features, graph_features(self._new)])
            self._new = []
        return self._features


def _stacked(parts: Sequence[GraphFeatures]) -> GraphFeatures:
    """Return the rows of all parts, with columns for the kinds that any graph holds."""
    held = {
        kind
        for part in parts
        for column, kind in enumerate(part.kinds)
        if part.sums[:, column, 0].any()
    }
    aligned = [part.aligned(sorted(held))[0] for part in parts]
    return GraphFeatures(
        tuple(sorted(held)),
        np.concatenate([part.sums for part in aligned]),
        np.concatenate([part.peak_bytes for part in aligned]),
    )
