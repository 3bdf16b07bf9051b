"""Networks as chains of links, against networks written down by hand."""

import itertools
from typing import Any

import numpy as np
import pytest

from search_spaces import Shape, Stage, Workload
from search_spaces.chain import ALWAYS, Derived, Link, chain_stages, constant, value_of
from search_spaces.source_values import EncodedValues, SourceValues

SHAPE = (2, 4, 4)


def conv(shape: Shape, channels: int) -> tuple[Workload, ...]:
    return (Workload("conv2d", shape, (channels, *shape[1:])),)


def logits(shape: Shape) -> tuple[Workload, ...]:
    return (Workload("linear", shape, (3,)),)


LINKS = (
    Link("first", (Derived(("width", "times"), lambda width, times: width * times),), conv),
    Link(Derived(("exit", "first"), lambda exit, first: exit and first), (), logits, is_head=True),
    Link(ALWAYS, (constant(5),), conv),
    Link(ALWAYS, (), logits, is_head=True),
)
DIMENSIONS = {"first": (0, 1), "width": (2, 4), "times": (1, 2), "exit": (0, 1)}


def test_a_network_holds_the_links_that_are_present_each_reading_what_came_before() -> None:
    choices = {"first": 1, "width": 4, "times": 2, "exit": 0}
    wanted = (*conv((2, 4, 4), 8), *conv((8, 4, 4), 5), *logits((5, 4, 4)))
    assert chain_stages(LINKS, SHAPE, choices) == (Stage(SHAPE, None, wanted),)
    wanted = (*conv((2, 4, 4), 5), *logits((5, 4, 4)))
    assert chain_stages(LINKS, SHAPE, choices | {"first": 0}) == (Stage(SHAPE, None, wanted),)


def test_a_head_ends_a_stage_and_the_next_one_reads_what_the_head_read() -> None:
    stages = chain_stages(LINKS, SHAPE, {"first": 1, "width": 2, "times": 2, "exit": 1})
    first = (*conv((2, 4, 4), 4), *logits((4, 4, 4)))
    second = (*conv((4, 4, 4), 5), *logits((5, 4, 4)))
    assert stages == (Stage(SHAPE, (4, 4, 4), first), Stage((4, 4, 4), None, second))


def test_values_of_arrays_are_those_of_each_architecture() -> None:
    """Brute force over all choices, one number for each combination of values."""
    combinations = list(itertools.product(*(range(len(v)) for v in DIMENSIONS.values())))
    values = SourceValues(DIMENSIONS)
    encoded = EncodedValues(values, np.array(combinations))
    product = LINKS[0].arguments[0]
    sources = ("first", product, constant("c"))
    for row, positions in enumerate(combinations):
        own: dict[str, Any] = {
            name: choices[i]
            for (name, choices), i in zip(DIMENSIONS.items(), positions, strict=True)
        }
        wanted = [value_of(source, own) for source in sources]
        assert values.split(sources, int(encoded.joint(sources)[row])) == wanted
        assert encoded.true(LINKS[1].present)[row] == bool(own["exit"] and own["first"])
    # 2 * 2 and 4 * 1 are the same width
    assert values.sizes(sources) == [2, 3, 1]


def test_too_many_combinations_to_number_are_refused() -> None:
    values = SourceValues({"many": tuple(range(2**16))})
    with pytest.raises(ValueError, match="combinations of values; derive fewer"):
        EncodedValues(values, np.zeros((1, 1), dtype=np.intp)).joint(("many",) * 4)
