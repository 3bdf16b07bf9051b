"""Structured pruning: whole channels are removed until a latency is reached."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from hwnas.compression_config import require_torch_pruning
from hwnas.errors import LatencyUnreachableError
from search_spaces import Shape

_LEAST_STEP = 1 / 64
_NARROWED = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)


@dataclass(frozen=True)
class PrunedNetwork:
    """What pruning to a latency found; its weights are not fine-tuned yet.

    Args:
        network: With fewer channels; the network it was made of is left as it is.
        ratio: Share of channels that was to be removed.
        latency_s: What the latency function said of it.
        parameters_left: Share of the parameters that are left.
    """

    network: nn.Module
    ratio: float
    latency_s: float
    parameters_left: float


def prune_to_latency(
    network: nn.Module,
    input_shape: Shape,
    latency_of: Callable[[nn.Module], float],
    target_latency_s: float,
    channel_multiple: int,
) -> PrunedNetwork:
    """Remove as few channels as make a network fast enough, by bisection of the ratio.

    Equal ratios leave equal channels whatever the weights are, so that networks of one
    architecture trained with several seeds, pruned by one ratio, cost the same.

    Args:
        network: Trained; a `StagedNetwork`.
        input_shape: ``(C, H, W)``.
        latency_of: Predicts or measures the latency of a network, in seconds.
        target_latency_s: To reach, in seconds.
        channel_multiple: See `prune`.

    Raises:
        LatencyUnreachableError: If even the fewest channels are too slow.
        UserError: If torch-pruning is not installed.
    """

    def pruned(ratio: float) -> PrunedNetwork:
        found = prune(network, input_shape, ratio, channel_multiple)
        left = _parameters(found) / _parameters(network)
        return PrunedNetwork(found, ratio, latency_of(found), left)

    best = pruned(1.0)
    if best.latency_s > target_latency_s:
        raise LatencyUnreachableError(
            f"pruning reaches {1e3 * best.latency_s:.4g} ms, with {channel_multiple} channels in "
            f"every layer. Wanted {1e3 * target_latency_s:.4g} ms."
        )
    too_slow = 0.0
    while best.ratio - too_slow > _LEAST_STEP:
        middle = pruned((best.ratio + too_slow) / 2)
        if middle.latency_s <= target_latency_s:
            best = middle
        else:
            too_slow = middle.ratio
    return best


def prune(network: nn.Module, input_shape: Shape, ratio: float, channel_multiple: int) -> nn.Module:
    """Return a copy of a network without a share of its channels, those of least magnitude.

    Channels that must go together (of a residual sum, of a depthwise convolution and of what
    it reads) are one group; its importance is the mean square of all weights that belong to a
    channel. Of a group of n channels, ``n (1 - ratio)`` stay, rounded to the nearest multiple,
    and at least one multiple. Classes are never removed.

    Args:
        network: A `StagedNetwork`.
        input_shape: ``(C, H, W)``.
        ratio: From 0 to 1.
        channel_multiple: Which numbers of channels a target likes.

    Raises:
        UserError: If torch-pruning is not installed.
        ValueError: If ``ratio`` is out of range.

    References:
        Fang et al. (2023), DepGraph: Towards Any Structural Pruning, Sec. 3.
        arXiv:2301.12900
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be from 0 to 1. Got {ratio}.")
    require_torch_pruning("pruning")
    import torch_pruning

    pruned = copy.deepcopy(network).to("cpu").eval()
    graph = torch_pruning.DependencyGraph().build_dependency(pruned, torch.zeros(1, *input_shape))
    importance_of = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    classifiers = [m for m in pruned.modules() if isinstance(m, nn.Linear)]
    # ranked before anything is removed: the order of groups does not matter then
    ranked = [
        (group[0].dep, importance_of(group).argsort())
        for group in graph.get_all_groups(classifiers, [nn.Conv2d])
    ]
    for root, order in ranked:
        n = len(order)
        least = order[: n - _channels_left(n, ratio, channel_multiple)].tolist()
        if least:
            graph.get_pruning_group(root.target.module, root.handler, least).prune()
    return pruned


def fit_to_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Narrow a network's layers to the channels that weights have; values stay undefined.

    What is wider than the network is left to ``load_state_dict`` to refuse.

    Args:
        network: As its architecture says, not pruned.
        weights: Perhaps of a pruned one, by name in its ``state_dict``.

    Returns:
        Whether any layer has fewer channels than before.
    """
    narrowed = False
    for name, module in network.named_modules():
        wanted = weights.get(f"{name}.weight")
        if isinstance(module, _NARROWED) and wanted is not None:
            narrowed |= _narrow(module, tuple(wanted.shape[:2]))
    return narrowed


def _narrow(module: nn.Module, channels: tuple[int, ...]) -> bool:
    """Give a layer's tensors these first axes; return whether that changes it."""
    own = tuple(cast(Tensor, module.weight).shape[: len(channels)])
    if own == channels or any(new > old for new, old in zip(channels, own, strict=True)):
        return False
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        narrow = tensor.new_empty((*channels[: tensor.ndim], *tensor.shape[len(channels) :]))
        is_parameter = isinstance(tensor, nn.Parameter)
        setattr(module, name, nn.Parameter(narrow) if is_parameter else narrow)
    if isinstance(module, nn.Conv2d):
        module.out_channels = channels[0]
        depthwise = module.groups > 1
        module.in_channels = channels[0] if depthwise else channels[1]
        module.groups = channels[0] if depthwise else 1
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = channels
    elif isinstance(module, nn.BatchNorm2d):
        (module.num_features,) = channels
    return True


def _channels_left(n: int, ratio: float, multiple: int) -> int:
    return min(n, multiple * max(1, round(n * (1 - ratio) / multiple)))


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
