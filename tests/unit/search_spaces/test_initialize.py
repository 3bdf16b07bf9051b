import numpy as np
import torch
from torch import Tensor, nn

import search_spaces
from search_spaces.blocks import StagedNetwork
from search_spaces.initialize import initialize_weights, live_batch_norm

SHAPE = (3, 16, 16)


def deep_network(torch_seed: int = 0) -> StagedNetwork:
    """With torch's own weights, drawn from a seed; the caller's random state stays."""
    space = search_spaces.create(
        "depthwise_separable",
        input_shape=SHAPE,
        n_classes=5,
        choices={"depth": [3], "expansion": [3]},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed)
        network = space.build(space.sample(np.random.default_rng(0)))
    assert isinstance(network, StagedNetwork)
    return network.eval()


def inputs() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    strengths = torch.linspace(0.25, 2.0, 16).view(-1, 1, 1, 1)
    return torch.randn(16, *SHAPE, generator=generator) * strengths


def relative_spread(network: nn.Module) -> float:
    """Spread of the logits over different inputs, relative to their size."""
    with torch.no_grad():
        (logits,) = network(inputs())
    return float(logits.std(0).norm() / logits.square().mean(0).sqrt().norm())


def test_live_batch_norm_revives_a_network_whose_output_ignores_its_input() -> None:
    network = deep_network()
    assert relative_spread(network) < 0.01
    live_batch_norm(network, SHAPE, seed=0)
    assert relative_spread(network) > 0.2


def test_live_batch_norm_leaves_evaluation_mode_and_the_momentum() -> None:
    network = deep_network()
    live_batch_norm(network, SHAPE, seed=0)
    assert not any(module.training for module in network.modules())
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {nn.BatchNorm2d(1).momentum}


def test_statistics_are_those_of_the_input() -> None:
    # a lone normalization sees standard normal noise: mean 0, variance 1; 4 batches of 32
    # images of 256 pixels are 32768 values, so 0.05 is 9 standard errors of the mean
    # and 6 of the variance
    network = nn.Sequential(nn.BatchNorm2d(3))
    live_batch_norm(network, SHAPE, seed=0)
    (norm,) = network
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, torch.zeros(3), atol=0.05, rtol=0)
    torch.testing.assert_close(norm.running_var, torch.ones(3), atol=0.05, rtol=0)


def test_weights_depend_on_the_seed_alone() -> None:
    one, same, other = deep_network(0), deep_network(1), deep_network(2)
    for network, seed in ((one, 7), (same, 7), (other, 8)):
        initialize_weights(network, seed)
    weights, same_weights = one.state_dict(), same.state_dict()
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights)
    drawn = [name for name in weights if weights[name].dim() > 1]
    assert not any(torch.equal(weights[name], other.state_dict()[name]) for name in drawn)


def test_torchs_global_random_state_is_left_alone() -> None:
    network, before = deep_network(), torch.get_rng_state()
    initialize_weights(network, seed=0)
    live_batch_norm(network, SHAPE, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_have_hes_variance() -> None:
    # variance 2 / fan; 64 * 64 * 9 = 36864 draws, so the standard error of the variance is
    # sqrt(2 / 36864) = 0.7 % and 4 % is more than 5 of them
    convolution = nn.Conv2d(64, 64, 3)
    initialize_weights(convolution, seed=0)
    assert abs(float(convolution.weight.detach().var()) * 64 * 9 / 2 - 1) < 0.04
