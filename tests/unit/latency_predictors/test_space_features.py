"""Features from encodings are those of the graphs, to the last bit: they are whole numbers."""

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import search_spaces
from latency_predictors.features import GraphFeatures, graph_features
from latency_predictors.space_features import SpaceFeatures
from search_spaces import ChainedSpace, SearchSpace
from search_spaces.encoding import decode, sample_encodings

SHAPES = [(3, 32, 32), (1, 8, 8), (1, 49, 10), (6, 1, 128), (2, 1, 1), (1, 3, 1)]
# stages may be left out, and strides may meet axes of length 1
WIDE = {"s1_depth": [0, 1, 2], "s2_depth": [0, 1], "kernel": [1, 3, 7]}


class Unchained:
    """A space of someone else, who does not say what its operators depend on."""

    def __init__(self, space: SearchSpace) -> None:
        for name in ("name", "input_shape", "n_classes", "dimensions", "canonicalize"):
            setattr(self, name, getattr(space, name))
        for name in ("sample", "stages", "workloads", "build"):
            setattr(self, name, getattr(space, name))


def space_of(name: str, shape: tuple[int, ...], **choices: Any) -> SearchSpace:
    return search_spaces.create(name, input_shape=shape, n_classes=3, choices=choices)


SPACES = [
    space_of(name, shape, **choices)
    for name in search_spaces.names()
    for shape in SHAPES
    for choices in ({}, WIDE)
] + [space_of("early_exit", (1, 8, 8), exit_after=[1], exit_width=[16, 0], **WIDE)]
# what was learned of a space in one example serves the next
KNOWN = [SpaceFeatures(space) for space in SPACES]


def from_graphs(space: SearchSpace, encodings: np.ndarray) -> tuple[GraphFeatures, np.ndarray]:
    stages = [space.stages(arch) for arch in decode(space, encodings)]
    features = graph_features([stage.workloads for own in stages for stage in own])
    owners = [row for row, own in enumerate(stages) for _ in own]
    return features, np.array(owners)


def assert_equal(
    got: tuple[GraphFeatures, np.ndarray], wanted: tuple[GraphFeatures, np.ndarray]
) -> None:
    assert got[0].kinds == wanted[0].kinds
    np.testing.assert_array_equal(got[0].sums, wanted[0].sums)
    np.testing.assert_array_equal(got[0].peak_bytes, wanted[0].peak_bytes)
    np.testing.assert_array_equal(got[1], wanted[1])


@settings(max_examples=60, deadline=None)
@given(which=st.integers(0, len(SPACES) - 1), n=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_features_of_encodings_are_those_of_the_graphs(which: int, n: int, seed: int) -> None:
    """As drawn, not canonical: choices without effect have none here either."""
    encodings = sample_encodings(SPACES[which], n, np.random.default_rng(seed))
    assert_equal(KNOWN[which].of(encodings), from_graphs(SPACES[which], encodings))


@pytest.mark.parametrize("name", search_spaces.names())
def test_any_number_of_architectures_gives_what_each_one_gives(name: str) -> None:
    """More than are handled at once: the last rows are those of a call of their own."""
    space = space_of(name, (3, 32, 32))
    encodings = sample_encodings(space, 20_000, np.random.default_rng(0))
    features, owners = SpaceFeatures(space).of(encodings)
    last = owners >= 19_900
    wanted, wanted_owners = from_graphs(space, encodings[19_900:])
    assert_equal((features[np.flatnonzero(last)], owners[last] - 19_900), (wanted, wanted_owners))
    np.testing.assert_array_equal(np.unique(owners), np.arange(20_000))


def test_a_space_that_does_not_say_what_operators_depend_on_is_asked_for_every_graph() -> None:
    space = space_of("early_exit", (1, 49, 10))
    encodings = sample_encodings(space, 50, np.random.default_rng(1))
    unchained = cast(SearchSpace, Unchained(space))
    assert isinstance(unchained, SearchSpace)
    assert not isinstance(unchained, ChainedSpace)
    assert_equal(SpaceFeatures(unchained).of(encodings), SpaceFeatures(space).of(encodings))


def test_only_kinds_that_some_architecture_holds_have_columns() -> None:
    """A space that has shown larger kernels before still gives what the graphs give."""
    space = space_of("depthwise_separable", (3, 32, 32), kernel=[3, 5])
    features = SpaceFeatures(space)
    encodings = sample_encodings(space, 200, np.random.default_rng(2))
    kernels = [i for i, name in enumerate(space.dimensions) if name.endswith("_kernel")]
    small = encodings[(encodings[:, kernels] == 0).all(axis=1)]
    assert len(small) > 0
    features.of(encodings)
    assert ("depthwise_conv2d", (5, 5), "float32") not in features.of(small)[0].kinds
    assert_equal(features.of(small), from_graphs(space, small))


def test_no_architectures_have_no_features() -> None:
    space = space_of("early_exit", (1, 8, 8))
    features, owners = SpaceFeatures(space).of(np.zeros((0, len(space.dimensions)), dtype=np.intp))
    assert (len(features), len(owners)) == (0, 0)


def test_encodings_of_another_space_are_refused() -> None:
    space = space_of("depthwise_separable", (1, 8, 8))
    wrong = np.zeros((2, len(space.dimensions)), dtype=np.intp)
    wrong[1, 0] = 2
    with pytest.raises(ValueError, match=r"stem_width has positions 0 to 1\. Got 2 at row 1"):
        SpaceFeatures(space).of(wrong)
