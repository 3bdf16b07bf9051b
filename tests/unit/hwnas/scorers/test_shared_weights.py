"""Weights of every network are slices of one set: equal parts are shared, others kept apart."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call

import search_spaces
from hwnas.errors import UserError
from hwnas.scorers.shared_weights import (
    SharedWeights,
    check_shareable,
    copy_into,
    extreme,
)
from hwnas.scorers.supernet_training import recalibrate_batch_norm
from search_spaces import Architecture, SearchSpace, Shape

NAMES = ("depthwise_separable", "early_exit")


# few values of each dimension: what is largest is found by building as many networks
CHOICES = {"depth": [1, 3], "width": [8, 16], "kernel": [3, 7], "expansion": [1, 2, 4]}


def space_of(name: str, input_shape: Shape = (2, 16, 16), **choices: Any) -> SearchSpace:
    return search_spaces.create(
        name, input_shape=input_shape, n_classes=4, n_stages=2, choices={**CHOICES, **choices}
    )


@cache
def space_and_weights(name: str) -> tuple[SearchSpace, SharedWeights]:
    space = space_of(name)
    return space, SharedWeights(space, 0)


def weights_of(shared: SharedWeights, space: SearchSpace, **choices: Any) -> dict[str, Any]:
    arch = architecture(space, **choices)
    return shared.of(arch, space.build(arch))


def architecture(space: SearchSpace, **choices: Any) -> Architecture:
    largest = extreme(space, True, np.random.default_rng(0))
    return space.canonicalize({**dict(largest.choices), **choices})


@pytest.mark.parametrize("name", NAMES)
def test_every_network_finds_all_its_weights_and_computes_with_them(name: str) -> None:
    space, shared = space_and_weights(name)
    rng = np.random.default_rng(3)
    for _ in range(10):
        arch = space.sample(rng)
        network = space.build(arch)
        weights = shared.of(arch, network)
        assert {n: p.shape for n, p in network.named_parameters()} == {
            n: w.shape for n, w in weights.items()
        }
        copy_into(network, weights)
        x = torch.randn(4, 2, 16, 16, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            sliced, copied = functional_call(network, weights, (x,)), network(x)
        assert all(torch.equal(a, b) for a, b in zip(sliced, copied, strict=True))


@pytest.mark.parametrize("input_shape", [(1, 1, 64), (3, 32, 8)], ids=["signal", "image"])
def test_shapes_of_any_input_are_foreseen(input_shape: Shape) -> None:
    space = space_of("early_exit", input_shape, s1_depth=[0, 1])
    shared, rng = SharedWeights(space, 0), np.random.default_rng(5)
    for _ in range(30):
        arch = space.sample(rng)
        assert shared.of(arch, space.build(arch))


def test_a_narrower_network_has_the_leading_channels() -> None:
    space, shared = space_and_weights("depthwise_separable")
    name = "stages.0.trunk.0.0.0.weight"
    wide, narrow = (weights_of(shared, space, stem_width=width)[name] for width in (16, 8))
    assert (wide.shape[0], narrow.shape[0]) == (16, 8)
    assert torch.equal(wide[:8], narrow)
    assert wide.data_ptr() == narrow.data_ptr()


def test_a_smaller_kernel_is_the_centre_of_the_larger() -> None:
    space, shared = space_and_weights("depthwise_separable")
    # the second layer of a block with expansion filters depthwise
    name = "stages.0.trunk.0.1.layers.1.0.weight"
    large, small = (weights_of(shared, space, s0_kernel=kernel)[name] for kernel in (7, 3))
    assert torch.equal(large[:, :, 2:5, 2:5], small)


def test_a_shallower_stage_has_the_first_blocks_of_the_deeper() -> None:
    space, shared = space_and_weights("depthwise_separable")
    deep, shallow = (weights_of(shared, space, s0_depth=depth) for depth in (3, 1))
    of_stage = [n for n in shallow if n.startswith("stages.0.trunk.0.")]
    assert all(torch.equal(deep[n], shallow[n]) for n in of_stage)
    # what follows is the same stage, wherever it comes to stand
    assert all(torch.equal(deep[n], shallow[n]) for n in shallow if ".trunk.1." in n)


def test_exits_come_and_go_without_touching_the_trunk() -> None:
    space, shared = space_and_weights("early_exit")
    with_exits = weights_of(shared, space)
    without = weights_of(shared, space, exit_after_s0=0)
    # one stage of two parts, or two stages of one part
    for part in range(2):
        inside = {n.removeprefix(f"stages.{part}.trunk.0."): w for n, w in with_exits.items()}
        for name, weight in without.items():
            prefix = f"stages.0.trunk.{part}."
            if name.startswith(prefix):
                assert torch.equal(weight, inside[name.removeprefix(prefix)])


def test_blocks_without_expansion_and_heads_without_convolution_are_kept_apart() -> None:
    space, shared = space_and_weights("early_exit")
    plain, expanded = (weights_of(shared, space, s0_expansion=e) for e in (1, 2))
    depthwise = [
        plain["stages.0.trunk.0.1.layers.0.0.weight"],
        expanded["stages.0.trunk.0.1.layers.1.0.weight"],
    ]
    assert not torch.equal(depthwise[0][:8], depthwise[1][:8])
    bare, widened = (weights_of(shared, space, exit_width_s0=width) for width in (0, 16))
    assert not torch.equal(bare["stages.0.head.2.weight"], widened["stages.0.head.1.2.weight"])


def test_gradients_reach_the_shared_tensors_and_only_the_part_that_was_used() -> None:
    space, shared = space_and_weights("depthwise_separable")
    arch = architecture(space, stem_width=8)
    network = space.build(arch)
    x = torch.randn(4, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    (logits,) = functional_call(network, shared.of(arch, network), (x,))
    logits.square().sum().backward()
    stem = shared.tensors["0.0.weight"]
    assert stem.grad is not None
    assert bool((stem.grad[:8] != 0).any())
    assert not bool((stem.grad[8:] != 0).any())


def test_extremes_have_the_largest_and_smallest_numbers_of_every_dimension() -> None:
    space = space_of("early_exit")
    rng = np.random.default_rng(0)
    largest, smallest = extreme(space, True, rng), extreme(space, False, rng)
    assert (largest["s0_kernel"], largest["s1_depth"], largest["exit_after_s0"]) == (7, 3, 1)
    assert (smallest["s0_kernel"], smallest["s1_depth"], smallest["exit_after_s0"]) == (3, 1, 0)


def test_a_space_of_other_blocks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_of("depthwise_separable")
    check_shareable(space)
    monkeypatch.setattr(space, "build", lambda arch: torch.nn.Linear(2, 4))
    with pytest.raises(UserError, match="cannot share their weights"):
        check_shareable(space)


def test_recalibrated_statistics_are_the_means_over_the_batches() -> None:
    norm = torch.nn.BatchNorm2d(3)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(8, 3, 4, 4, generator=generator) + k for k in range(4)]
    norm(batches[0])
    recalibrate_batch_norm(norm, batches)
    means = torch.stack([b.mean(dim=(0, 2, 3)) for b in batches]).mean(dim=0)
    variances = torch.stack([b.var(dim=(0, 2, 3)) for b in batches]).mean(dim=0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # float32
    torch.testing.assert_close(norm.running_mean, means, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(norm.running_var, variances, atol=1e-6, rtol=1e-5)
    assert (norm.momentum, norm.training) == (0.1, False)
