"""A network rounds in torch as it does in int8, and is an ordinary one afterwards."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hwnas.fake_quantization import FakeQuantization
from hwnas.quantization import quantize_stages
from hwnas.stage_running import run_stage_models
from tests.unit.hwnas.quantized_networks import exported, samples, two_stages


def rounded_weight(layer: nn.Module) -> torch.Tensor:
    """Return the weight that a layer computes with."""
    with FakeQuantization(layer, torch.zeros(1, 3, 4, 4)):
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        return weight.detach().clone()


@pytest.mark.parametrize("seed", range(3))
def test_a_network_rounds_as_int8_does(seed: int) -> None:
    network, x = two_stages(seed), samples(64, seed)
    models = exported(network)
    int8 = run_stage_models(quantize_stages(models, x), x)
    with torch.no_grad(), FakeQuantization(network, torch.from_numpy(x)):
        rounded = [z.numpy() for z in network(torch.from_numpy(x))]
    # Equal but where float32 rounds a tie the other way, which is passed on: once in a hundred
    # after three operators, once in five after a dozen. Other scales leave a third equal by
    # chance.
    for found, wanted, share in zip(rounded, int8, (0.95, 0.6), strict=True):
        assert np.isclose(found, wanted, rtol=1e-4, atol=1e-4).mean() > share


def test_the_network_is_an_ordinary_one_afterwards() -> None:
    network, x = two_stages(), torch.from_numpy(samples(8))
    before, logits = copy.deepcopy(network.state_dict()), network(x)
    with FakeQuantization(network, x):
        assert not torch.equal(network(x)[-1], logits[-1])
    assert network.state_dict().keys() == before.keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    for found, wanted in zip(network(x), logits, strict=True):
        assert torch.equal(found, wanted)


def test_weights_rounded_before_folding_are_those_rounded_after() -> None:
    norm, conv = nn.BatchNorm2d(4).eval(), nn.Conv2d(3, 4, 3, bias=False).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([3.0, -0.2, 1e-3, 50.0]))
        norm.running_var.copy_(torch.tensor([0.1, 2.0, 30.0, 1e-4]))  # type: ignore[union-attr]
        after = rounded_weight(fuse_conv_bn_eval(conv, norm))
        conv.weight.copy_(rounded_weight(conv))
        before = fuse_conv_bn_eval(conv, norm).weight
    torch.testing.assert_close(before, after, rtol=1e-5, atol=0)


def test_weights_take_255_values_of_equal_distance() -> None:
    layer = nn.Conv2d(3, 2, 41, bias=False, padding=20)
    for row, original in zip(rounded_weight(layer), layer.weight.detach(), strict=True):
        step = float(original.abs().max()) / 127
        integers = (row / step).round()
        torch.testing.assert_close(row, integers * step)
        assert integers.abs().max() == 127
        # ties of float32 may be rounded either way
        assert (row - original).abs().max() <= 0.5001 * step


def identity(n: int) -> nn.Linear:
    """Return a layer whose weights are whole numbers of their step."""
    layer = nn.Linear(n, n, bias=False)
    nn.init.eye_(layer.weight)
    return layer


@given(st.lists(st.integers(-(10**6), 10**6).map(lambda i: i / 1000), min_size=1, max_size=50))
def test_activations_take_256_values_over_their_range_and_zero_is_one_of_them(
    values: list[float],
) -> None:
    x = np.array([[*values, 0]], dtype=np.float32)
    layer = identity(x.size)
    with torch.no_grad(), FakeQuantization(layer, torch.from_numpy(x)):
        rounded = layer(torch.from_numpy(x)).numpy()
    step = float(x.max() - x.min()) / 255
    assert rounded[0, -1] == 0
    # half a step, another half where the place of zero was rounded, and float32's own error
    assert np.abs(rounded - x).max() <= 1.01 * step
    if step > 0:
        integers = np.rint(rounded / step)
        np.testing.assert_allclose(rounded / step, integers, atol=0.01)
        assert integers.max() - integers.min() <= 255


def test_ranges_are_those_of_the_last_calibration() -> None:
    layer, x = identity(1), torch.tensor([[0.0], [1.0]])
    with torch.no_grad(), FakeQuantization(layer, x):
        assert layer(torch.tensor([[5.0]])) == 1
        x *= 3
        assert layer(torch.tensor([[5.0]])) == 1
    with torch.no_grad(), FakeQuantization(layer, x) as rounding:
        layer.parametrizations.weight.original *= 2  # type: ignore[union-attr, operator]
        rounding.calibrate()
        torch.testing.assert_close(layer(torch.tensor([[5.0]])), torch.tensor([[6.0]]))


def test_gradients_pass_the_rounding() -> None:
    layer, x = nn.Linear(3, 2, bias=False), torch.tensor([[1.0, 2.0, -3.0]])
    # ranges are wider than what x leads to: values beyond them have no gradient
    with FakeQuantization(layer, torch.cat([2 * x, -2 * x])):
        layer(x).sum().backward()
    (weight,) = layer.parameters()
    assert weight.grad is not None
    # of the sum over outputs with respect to a weight: the input, rounded to a step of 12 / 255
    torch.testing.assert_close(weight.grad, x.expand(2, 3), rtol=0, atol=12 / 255)


def test_values_beyond_the_range_are_cut_and_have_no_gradient() -> None:
    layer, x = identity(1), torch.tensor([[4.0], [0.5]], requires_grad=True)
    with FakeQuantization(layer, torch.tensor([[1.0]])):
        found = layer(x)
        found.sum().backward()
    torch.testing.assert_close(found, torch.tensor([[1.0], [0.5]]), rtol=0, atol=1 / 255)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([[0.0], [1.0]]))
