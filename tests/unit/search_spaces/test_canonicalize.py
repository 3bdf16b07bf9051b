"""Canonical choices: one form, and never another network."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import search_spaces
from search_spaces import Architecture, Choice, SearchSpace

SHAPES = [(3, 32, 32), (1, 8, 8), (1, 49, 10), (6, 1, 128), (2, 1, 1), (1, 3, 1)]
# stages may be left out, and strides may meet axes of length 1
WIDE = {"s1_depth": [0, 1, 2], "s2_depth": [0, 1], "kernel": [1, 3, 7]}


def space_of(name: str, shape: tuple[int, ...], **choices: Any) -> SearchSpace:
    return search_spaces.create(name, input_shape=shape, n_classes=3, choices=WIDE | choices)


SPACES = [space_of(name, shape) for name in search_spaces.names() for shape in SHAPES] + [
    space_of("early_exit", (1, 8, 8), exit_after=[1], exit_width=[16, 0]),
    space_of(
        "depthwise_separable",
        (1, 4, 1),
        stride_plan=["2-2-2-2", "2-2-1-1", "1-1-2-2", "1-2-2-1", "1-1-1-1"],
    ),
]


@st.composite
def spaces_and_choices(draw: st.DrawFn) -> tuple[SearchSpace, dict[str, Choice]]:
    space = draw(st.sampled_from(SPACES))
    return space, {n: draw(st.sampled_from(values)) for n, values in space.dimensions.items()}


@given(drawn=spaces_and_choices())
def test_canonicalize_is_idempotent_and_stays_within_the_dimensions(
    drawn: tuple[SearchSpace, dict[str, Choice]],
) -> None:
    space, choices = drawn
    arch = space.canonicalize(choices)
    assert space.canonicalize(dict(arch.choices)) == arch
    assert all(value in space.dimensions[name] for name, value in arch.choices)


@given(drawn=spaces_and_choices())
def test_collapsing_choices_never_changes_the_network(
    drawn: tuple[SearchSpace, dict[str, Choice]],
) -> None:
    space, choices = drawn
    as_drawn = Architecture(space.name, tuple(sorted(choices.items())))
    assert space.stages(space.canonicalize(choices)) == space.stages(as_drawn)


@settings(max_examples=50)
@given(drawn=spaces_and_choices(), data=st.data())
def test_a_choice_without_effect_on_the_workloads_gives_the_same_architecture(
    drawn: tuple[SearchSpace, dict[str, Choice]], data: st.DataObject
) -> None:
    space, choices = drawn
    name = data.draw(st.sampled_from(list(space.dimensions)))
    other = choices | {name: data.draw(st.sampled_from(space.dimensions[name]))}
    arch, changed = space.canonicalize(choices), space.canonicalize(other)
    same_network = space.stages(arch) == space.stages(changed)
    assert (arch.arch_id == changed.arch_id) == same_network


@given(drawn=spaces_and_choices())
def test_arch_id_survives_json_with_shuffled_keys(
    drawn: tuple[SearchSpace, dict[str, Choice]],
) -> None:
    space, choices = drawn
    arch = space.canonicalize(choices)
    document = json.loads(json.dumps(arch.to_dict()))
    document["choices"] = dict(reversed(document["choices"].items()))
    read = Architecture.from_dict(document)
    assert (read, read.arch_id) == (arch, arch.arch_id)


def test_arch_id_is_pinned_across_versions() -> None:
    # the hash of this text, taken with sha256sum: stored runs must stay readable
    arch = Architecture("depthwise_separable", (("s0_depth", 1), ("width_multiplier", 0.5)))
    assert arch.arch_id == "39c82e8a0d3b1fba"


def tiny_space(**choices: list[Choice]) -> SearchSpace:
    one_of_each = {
        "width_multiplier": [1.0],
        "kernel": [3],
        "expansion": [1],
        "se": [0],
        "activation": ["relu6"],
        "stem_width": [8],
        "stride_plan": ["1-1-1"],
        "s0_depth": [1],
        "s1_depth": [0, 1],
        "s0_width": [8],
        "s1_width": [8, 16],
    }
    return search_spaces.create(
        "depthwise_separable",
        input_shape=(1, 8, 8),
        n_classes=3,
        n_stages=2,
        choices=one_of_each | choices,
    )


def reachable(space: SearchSpace) -> set[Architecture]:
    """Every canonical architecture, by trying all choices."""
    names = list(space.dimensions)
    grids = np.meshgrid(*(np.arange(len(space.dimensions[n])) for n in names), indexing="ij")
    rows = np.stack([grid.ravel() for grid in grids], axis=1)
    return {
        space.canonicalize({n: space.dimensions[n][i] for n, i in zip(names, row, strict=True)})
        for row in rows
    }


@pytest.mark.parametrize(
    ("choices", "n_networks"),
    [
        # without stage 1 its width is no choice: 1 + 2
        ({}, 3),
        # and neither is its kernel: 1 + 2 * 3
        ({"s1_kernel": [3, 5, 7]}, 7),
        # 4 * 2 = 8 = 8 * 1 channels and so on: (stem, s0) in {4, 8} x {4, 8} channels
        # for either multiplier, 16 only with multiplier 2 (from 8) needs width 8: {8, 16}^2;
        # together 4 + 4 - 1, as (8, 8) is in both
        (
            {
                "width_multiplier": [1.0, 2.0],
                "stem_width": [4, 8],
                "s0_width": [4, 8],
                "s1_depth": [0],
            },
            7,
        ),
        # a stride of a stage left out has no effect: 2 plans times 2 widths with stage 1, 1 without
        ({"stride_plan": ["1-1-1", "1-1-2"]}, 5),
    ],
)
def test_the_number_of_networks_is_that_counted_by_hand(
    choices: dict[str, list[Choice]], n_networks: int
) -> None:
    space = tiny_space(**choices)
    architectures = reachable(space)
    assert len(architectures) == n_networks
    assert len({space.workloads(arch) for arch in architectures}) == n_networks


def test_strides_of_a_single_pixel_are_no_choice() -> None:
    space = space_of("depthwise_separable", (1, 2, 1), stride_plan=["2-1-1-1", "2-2-2-2"])
    choices = {name: values[-1] for name, values in space.dimensions.items()}
    # the stem leaves one pixel, so that the later strides change nothing
    assert space.canonicalize(choices)["stride_plan"] == "2-1-1-1"


def test_only_the_first_block_of_a_stage_has_its_stride() -> None:
    space = tiny_space(s0_depth=[3], s1_depth=[2], stride_plan=["2-1-2"])
    (arch, *_) = reachable(space)
    sizes = [w.output_shape[1:] for w in space.workloads(arch) if w.op == "depthwise_conv2d"]
    # 8 pixels: stem to 4, three blocks keep them, the next block halves, the last keeps
    assert sizes == [(4, 4)] * 3 + [(2, 2)] * 2


def test_an_exit_where_nothing_was_computed_collapses() -> None:
    space = space_of("early_exit", (1, 8, 8), s2_depth=[0], s1_depth=[0, 1])
    choices = {name: values[0] for name, values in space.dimensions.items()}
    exits = {"exit_after_s0": 1, "exit_after_s1": 1, "exit_width_s0": 32, "exit_width_s1": 32}
    without_stages = dict(space.canonicalize(choices | exits | {"s1_depth": 0}).choices)
    # only the first stage computes, so that the network ends there
    assert without_stages["exit_after_s0"] == without_stages["exit_after_s1"] == 0
    assert without_stages["exit_width_s0"] == space.dimensions["exit_width_s0"][0]
    with_stage = dict(space.canonicalize(choices | exits | {"s1_depth": 1}).choices)
    assert (with_stage["exit_after_s0"], with_stage["exit_after_s1"]) == (1, 0)
