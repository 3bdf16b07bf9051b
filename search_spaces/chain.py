"""Networks as chains of links, each a function of few choices.

What a link does depends on the shape it reads and on a few arguments, each of which follows
from few dimensions. Stated as data, that serves one architecture (`chain_stages`) as well as
arrays of them: few different links make up any number of networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from search_spaces._types import Choice, Shape, Stage, Workload


@dataclass(frozen=True, eq=False)
class Derived:
    """A value that follows from few dimensions.

    Args:
        sources: What it follows from.
        function: Called with a value of each source, in order. It must take every combination
            of them, even one that no architecture has, and return something hashable.
    """

    sources: tuple[Source, ...]
    function: Callable[..., Any]


Source: TypeAlias = str | Derived
"""A dimension, by name, or a value derived from dimensions."""


def value_of(source: Source, choices: Mapping[str, Choice]) -> Any:
    """Return the value that an architecture with these choices has."""
    if isinstance(source, str):
        return choices[source]
    return source.function(*(value_of(s, choices) for s in source.sources))


def constant(value: Any) -> Derived:
    """Return the source of a value that all architectures share."""
    return Derived((), lambda: value)


ALWAYS = constant(True)


@dataclass(frozen=True, eq=False)
class Link:
    """Operators in a row that a network holds or leaves out as one.

    Args:
        present: True where a network holds it.
        arguments: What it depends on besides the shape it reads.
        workloads: Called with that shape and the arguments' values, it returns the fused
            operators, at least one. The last one's output is what the next link reads.
        is_head: Whether a stage ends here, in logits. The next link reads what this one read.
    """

    present: Source
    arguments: tuple[Source, ...]
    workloads: Callable[..., tuple[Workload, ...]]
    is_head: bool = False


@dataclass(frozen=True)
class PlacedLink:
    """A link that a network holds, with the shape it reads and the values of its arguments."""

    link: Link
    input_shape: Shape
    arguments: tuple[Any, ...]
    workloads: tuple[Workload, ...]

    @property
    def output_shape(self) -> Shape:
        """What the next link reads."""
        return self.input_shape if self.link.is_head else self.workloads[-1].output_shape


def place(
    links: Iterable[Link], input_shape: Shape, choices: Mapping[str, Choice]
) -> tuple[PlacedLink, ...]:
    """Return the links that the network of these choices holds, in execution order.

    Args:
        links: Of the space.
        input_shape: ``(C, H, W)`` that the first one reads.
        choices: A value of every dimension, canonical or not.
    """
    shape, placed = input_shape, []
    for link in links:
        if value_of(link.present, choices):
            arguments = tuple(value_of(source, choices) for source in link.arguments)
            placed.append(PlacedLink(link, shape, arguments, link.workloads(shape, *arguments)))
            shape = placed[-1].output_shape
    return tuple(placed)


def chain_stages(
    links: Iterable[Link], input_shape: Shape, choices: Mapping[str, Choice]
) -> tuple[Stage, ...]:
    """Return the stages of the network of these choices: see `SearchSpace.stages`.

    Args:
        links: Of the space; the last one must be a head that is always present.
        input_shape: ``(C, H, W)`` of one sample.
        choices: A value of every dimension, canonical or not.
    """
    stages: list[Stage] = []
    workloads: list[Workload] = []
    reads = input_shape
    placed = place(links, input_shape, choices)
    for at in placed:
        workloads += at.workloads
        if at.link.is_head:
            hands_on = None if at is placed[-1] else at.output_shape
            stages.append(Stage(reads, hands_on, tuple(workloads)))
            reads, workloads = at.output_shape, []
    return tuple(stages)
