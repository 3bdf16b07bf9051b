"""A network without its exits computes what its final exit does."""

import numpy as np
import torch

import search_spaces
from search_spaces.blocks import StagedNetwork, without_exits


def test_a_network_without_exits_has_the_final_logits_and_fewer_parameters() -> None:
    space = search_spaces.create("early_exit", input_shape=(1, 16, 16), n_classes=4)
    rng = np.random.default_rng(0)
    arch = next(a for _ in range(100) if len(space.stages(a := space.sample(rng))) > 2)
    torch.manual_seed(0)
    network = space.build(arch).eval()
    assert isinstance(network, StagedNetwork)
    static = without_exits(network)
    x = torch.randn(5, 1, 16, 16)
    with torch.no_grad():
        (logits,) = static(x)
        expected = network(x)[-1]
    # the same operations on the same weights in the same order
    assert torch.equal(logits, expected)
    heads = [stage.head for stage in network.stages][:-1]
    saved = sum(p.numel() for head in heads for p in head.parameters())  # type: ignore[union-attr]
    assert saved > 0
    assert _size(static) == _size(network) - saved


def _size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
