"""One set of weights from which every network of a space takes its own, by slicing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from hwnas.errors import UserError
from search_spaces import Architecture, ChainedSpace, Choice, SearchSpace
from search_spaces.blocks import (
    Classifier,
    ConvBnAct,
    InvertedResidual,
    NetworkStage,
    SqueezeExcitation,
    StagedNetwork,
)
from search_spaces.chain import place

# architectures that show how large each tensor gets, beside those that differ from the largest
# one in one dimension
_SAMPLED = 50


class SharedWeights:
    """Weights of a space's largest networks; all others use leading parts of them.

    Shared are: channels by their leading indices, kernels by their centres, blocks of a stage
    by their position, and all that across strides, activations and exits. Apart are kept: the
    convolutions of blocks without expansion, which filter what others project, and the heads of
    exits with and without a convolution. Statistics of batch norms are no weights: each network
    has its own.

    Args:
        space: Whose networks are made of the blocks of `search_spaces.blocks`.
        seed: Of the initial weights.

    Raises:
        UserError: If its networks are made of something else.

    References:
        Cai et al. (2020), Once-for-All; its transforms between kernel sizes and its
        order of channels by importance are left out. arXiv:1908.09791
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = check_shareable(space)
        rng = np.random.default_rng(seed)
        shapes: dict[str, tuple[int, ...]] = {}
        for arch in _covering(self._space, rng):
            network = self._space.build(arch)
            for name, key in shared_names(self._space, arch, network).items():
                shape = tuple(network.get_parameter(name).shape)
                largest = shapes.get(key, shape)
                shapes[key] = tuple(map(max, largest, shape))
        generator = torch.Generator().manual_seed(seed)
        self.tensors = {k: _initial(k, shapes[k], generator) for k in sorted(shapes)}

    def of(self, arch: Architecture, network: nn.Module) -> dict[str, Tensor]:
        """Return the weights of a network as slices, through which gradients flow.

        Args:
            arch: An architecture of the space.
            network: What the space builds of it.

        Returns:
            By name of the network's parameter.

        Raises:
            ValueError: If the network is larger than all that were foreseen.
        """
        sliced = {}
        for name, key in shared_names(self._space, arch, network).items():
            shape = tuple(network.get_parameter(name).shape)
            sliced[name] = _part(self.tensors[key], shape, key)
        return sliced

    def to(self, device: torch.device) -> None:
        """Move all tensors to a device."""
        for tensor in self.tensors.values():
            tensor.data = tensor.data.to(device)


def check_shareable(space: SearchSpace) -> ChainedSpace:
    """Return a space whose networks can share weights.

    Raises:
        UserError: If they cannot.
    """
    if not isinstance(space, ChainedSpace):
        raise _not_shareable(space)
    arch = extreme(space, True, np.random.default_rng(0))
    shared_names(space, arch, space.build(arch))
    return space


def extreme(space: SearchSpace, largest: bool, rng: np.random.Generator) -> Architecture:
    """Return the largest or smallest architecture; what has no order is drawn."""
    choices: dict[str, Choice] = {}
    for name, values in space.dimensions.items():
        numbers = [value for value in values if not isinstance(value, str)]
        if len(numbers) == len(values):
            choices[name] = max(numbers) if largest else min(numbers)
        else:
            choices[name] = values[rng.integers(len(values))]
    return space.canonicalize(choices)


def shared_names(space: ChainedSpace, arch: Architecture, network: nn.Module) -> dict[str, str]:
    """Return which shared tensor each parameter of a network is a part of.

    A name is made of the place of a block's link in the space, which is the same in every
    network, and of the role that the parameter has in its block.

    Raises:
        UserError: If the network is not made of blocks that are known here.
    """
    index = {link: i for i, link in enumerate(space.links)}
    placed = place(space.links, space.input_shape, dict(arch.choices))
    blocks = list(_blocks(network))
    if len(blocks) != len(placed):
        raise _not_shareable(space)
    names: dict[str, str] = {}
    for at, (prefix, block) in zip(placed, blocks, strict=True):
        for name, _ in block.named_parameters():
            names[f"{prefix}.{name}"] = f"{index[at.link]}.{_role(block, name, space)}"
    return names


def _not_shareable(space: SearchSpace) -> UserError:
    return UserError(
        f"accuracy.scorer: networks of the space {space.name!r} cannot share their weights. "
        "Choose 'full' or 'halving'."
    )


def _covering(space: SearchSpace, rng: np.random.Generator) -> Iterator[Architecture]:
    """Yield the largest architecture, all that differ from it in one dimension, and samples."""
    largest = extreme(space, True, rng)
    yield largest
    for name, values in space.dimensions.items():
        for value in values:
            yield space.canonicalize({**dict(largest.choices), name: value})
    for _ in range(_SAMPLED):
        yield space.sample(rng)


def _blocks(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield what a network's links are built as, in execution order, with their names."""
    if not isinstance(network, StagedNetwork):
        return
    for i, stage in enumerate(network.stages):
        if isinstance(stage, NetworkStage):
            yield from _leaves(f"stages.{i}.trunk", stage.trunk)
            yield f"stages.{i}.head", stage.head


def _leaves(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    # blocks are sequences, too: of a class of their own
    if type(module) is nn.Sequential:
        for name, child in module.named_children():
            yield from _leaves(f"{prefix}.{name}", child)
    else:
        yield prefix, module


def _role(block: nn.Module, name: str, space: SearchSpace) -> str:
    if isinstance(block, ConvBnAct | Classifier):
        return name
    if type(block) is nn.Sequential:
        return f"widened.{name}"
    if not isinstance(block, InvertedResidual):
        raise _not_shareable(space)
    _, position, rest = name.split(".", 2)
    layers = list(block.layers)
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, ConvBnAct)]
    is_expanded = len(convolutions) == 3
    kind = "expanded" if is_expanded else "direct"
    if isinstance(layers[int(position)], SqueezeExcitation):
        return f"{kind}.se.{rest}"
    roles = ("expand", "depthwise", "project") if is_expanded else ("depthwise", "project")
    return f"{kind}.{roles[convolutions.index(int(position))]}.{rest}"


def _part(tensor: Tensor, shape: Sequence[int], key: str) -> Tensor:
    """Return leading channels, and the centre of the kernel."""
    slices = []
    for axis, (wanted, held) in enumerate(zip(shape, tensor.shape, strict=True)):
        if wanted > held:
            raise ValueError(
                f"the shared tensor {key} holds {tuple(tensor.shape)}. Wanted {tuple(shape)}."
            )
        start = (held - wanted) // 2 if axis > 1 else 0
        slices.append(slice(start, start + wanted))
    return tensor[tuple(slices)]


def _initial(key: str, shape: Sequence[int], generator: torch.Generator) -> Parameter:
    """Return He's normal initialization; of a batch norm the identity; biases 0."""
    if len(shape) == 1:
        return Parameter(torch.zeros(*shape) if key.endswith("bias") else torch.ones(*shape))
    fan_in = math.prod(shape[1:])
    return Parameter(torch.randn(*shape, generator=generator) * math.sqrt(2 / fan_in))


def copy_into(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a network's parameters of the same names."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])
