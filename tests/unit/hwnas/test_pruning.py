"""Pruning: channels of networks of a space, to a latency, and back from a file."""

from __future__ import annotations

import copy
import sys
from typing import cast

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from hwnas.config import parse_config
from hwnas.errors import LatencyUnreachableError, UserError
from hwnas.pruning import (
    fit_to_weights,
    prune,
    prune_to_latency,
)
from search_spaces import create, total_macs, workloads_from_onnx
from search_spaces.early_exit import EarlyExitSpace
from search_spaces.initialize import initialize_weights, live_batch_norm
from search_spaces.onnx_export import stage_models

SHAPE = (1, 12, 14)
CLASSES = 5
SPACE = cast(EarlyExitSpace, create("early_exit", input_shape=SHAPE, n_classes=CLASSES))


def network(seed: int) -> nn.Module:
    """Return a network of random architecture with weights that differ by their seed."""
    built = SPACE.build(SPACE.sample(np.random.default_rng(seed)))
    initialize_weights(built, seed)
    live_batch_norm(built, SHAPE, seed)
    return built


def macs(pruned: nn.Module) -> float:
    models = stage_models(pruned, SHAPE)
    return float(sum(total_macs(workloads_from_onnx(m)) for m in models))


def widths(pruned: nn.Module) -> dict[str, int]:
    return {n: m.out_channels for n, m in pruned.named_modules() if isinstance(m, nn.Conv2d)}


def samples(n: int = 8) -> torch.Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("seed", range(5))
def test_a_network_pruned_by_nothing_is_the_same(seed: int) -> None:
    original = network(seed)
    pruned = prune(original, SHAPE, 0.0, 1)
    with torch.no_grad():
        for got, want in zip(pruned(samples()), original(samples()), strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("ratio", "multiple"), [(0.3, 4), (0.6, 8), (1.0, 4)])
def test_every_layer_keeps_its_share_in_multiples_and_every_class(
    seed: int, ratio: float, multiple: int
) -> None:
    original = network(seed)
    before = copy.deepcopy(original.state_dict())
    pruned = prune(original, SHAPE, ratio, multiple)
    for name, n in widths(original).items():
        left = widths(pruned)[name]
        if n <= multiple:
            assert left == n
        else:
            assert left % multiple == 0
            assert abs(left - n * (1 - ratio)) <= multiple / 2 or left == multiple
    with torch.no_grad():
        assert {tuple(z.shape) for z in pruned(samples())} == {(8, CLASSES)}
    assert all(torch.equal(before[k], v) for k, v in original.state_dict().items())


@pytest.mark.parametrize("seed", range(5))
def test_silent_channels_go_first_and_no_answer_changes(seed: int) -> None:
    original = network(seed)
    silence_odd_channels(original)
    pruned = prune(original, SHAPE, 0.5, 1)
    assert widths(pruned) == {name: n // 2 for name, n in widths(original).items()}
    with torch.no_grad():
        for got, want in zip(pruned(samples()), original(samples()), strict=True):
            # float32 sums of half as many terms
            assert torch.allclose(got, want, rtol=1e-4, atol=1e-5)


def silence_odd_channels(network: nn.Module) -> None:
    """Set to 0 what every second channel says, and how it is heard."""
    odd = slice(1, None, 2)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                module.weight[odd] = 0
                if module.bias is not None:
                    module.bias[odd] = 0
            if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.shape[1] > 1:
                module.weight[:, odd] = 0


@pytest.mark.parametrize("share", [0.7, 0.4])
def test_a_latency_is_reached_and_one_step_less_would_not_do(share: float) -> None:
    original = network(1)
    target = share * macs(original)
    found = prune_to_latency(original, SHAPE, macs, target, 4)
    assert found.latency_s == macs(found.network) <= target
    assert macs(prune(original, SHAPE, found.ratio - 1 / 64, 4)) > target
    left = sum(p.numel() for p in found.network.parameters())
    assert found.parameters_left == left / sum(p.numel() for p in original.parameters())


def test_networks_of_one_architecture_pruned_by_one_ratio_cost_the_same() -> None:
    arch = SPACE.sample(np.random.default_rng(3))
    pruned = []
    for seed in (1, 2):
        built = SPACE.build(arch)
        initialize_weights(built, seed)
        pruned.append(prune(built, SHAPE, 0.4, 4))
    graphs = [[workloads_from_onnx(m) for m in stage_models(p, SHAPE)] for p in pruned]
    assert graphs[0] == graphs[1]
    assert macs(pruned[0]) < macs(SPACE.build(arch))


def test_what_cannot_be_reached_is_told_with_what_can() -> None:
    original = network(1)
    least = macs(prune(original, SHAPE, 1.0, 4))
    with pytest.raises(LatencyUnreachableError) as error:
        prune_to_latency(original, SHAPE, macs, 0.99 * least, 4)
    assert str(error.value) == (
        f"pruning reaches {1e3 * least:.4g} ms, with 4 channels in every layer. "
        f"Wanted {0.99e3 * least:.4g} ms."
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_pruned_network_comes_back_from_its_weights(seed: int) -> None:
    arch = SPACE.sample(np.random.default_rng(seed))
    pruned = prune(network(seed), SHAPE, 0.5, 4)
    weights = pruned.state_dict()
    again = SPACE.build(arch).eval()
    assert fit_to_weights(again, weights)
    again.load_state_dict(weights)
    with torch.no_grad():
        for got, want in zip(again(samples()), pruned(samples()), strict=True):
            assert torch.equal(got, want)
    # also those numbers of channels that no tensor tells of, which exporters and pruners read
    assert repr(again) == repr(pruned)


def test_a_pruned_network_answers_the_same_from_its_onnx_stages() -> None:
    pruned = prune(network(2), SHAPE, 0.5, 4)
    x = samples(1)
    with torch.no_grad():
        wanted = pruned(x)
    features = x.numpy()
    for model, want in zip(stage_models(pruned, SHAPE), wanted, strict=True):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        logits, *rest = session.run(None, {"input": features})
        # float32, batch normalization folded
        np.testing.assert_allclose(logits, want.numpy(), rtol=1e-3, atol=1e-4)
        features = rest[0] if rest else features


def test_weights_of_the_network_itself_narrow_nothing() -> None:
    original = network(0)
    assert not fit_to_weights(copy.deepcopy(original), original.state_dict())


def test_weights_of_a_wider_network_are_refused() -> None:
    narrow = prune(network(0), SHAPE, 0.5, 4)
    wide = network(0).state_dict()
    fit_to_weights(narrow, wide)
    with pytest.raises(RuntimeError, match="size mismatch"):
        narrow.load_state_dict(wide)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_out_of_range_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio must be from 0 to 1"):
        prune(network(0), SHAPE, ratio, 4)


def test_what_is_missing_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(UserError, match=r"pip install 'hwnas\[pruning\]'"):
        prune(network(0), SHAPE, 0.5, 4)


def test_an_experiment_that_prunes_says_at_once_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    document = {"name": "p", "dataset": {"kind": "digits"}, "deployment": {"pruning": {}}}
    with pytest.raises(UserError) as error:
        parse_config(document, "p.yaml")
    assert str(error.value) == (
        "p.yaml: deployment.pruning: needs torch-pruning. Install it: pip install 'hwnas[pruning]'"
    )
    monkeypatch.delitem(sys.modules, "torch_pruning")
    assert parse_config(document, "p.yaml").deployment.pruning is not None
