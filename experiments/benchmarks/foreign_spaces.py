"""Published search spaces that others measured, as graphs of workloads: NB201, FBNet, OFA.

A workload exists for what hwnas itself builds. What these spaces have beyond that is written
down by its equal in arithmetic: 3 x 3 average pooling as a depthwise convolution, an edge that is
multiplied by 0 as a product, a convolution of two groups as two of half the channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from latency_predictors import Graph
from latency_predictors.features import graph_features
from latency_predictors.observed import Observed
from search_spaces import Shape, Workload
from search_spaces.graph_builder import GraphBuilder

RAW = "raw"
"""The view every space has: the graph as it is written down."""
FROM_INPUT, FROM_OUTPUT, FROM_BOTH = (f"pruned_from_{end}" for end in ("input", "output", "both"))
LONGEST_PATH = "longest_path"

# Which edges, whether an edge of nothing is multiplied by 0 and added, and whether what is
# computed twice from the same input without weights is shared.
_CLEAN_UPS = {
    RAW: (RAW, True, False),
    f"{RAW}_shared": (RAW, True, True),
    FROM_INPUT: (FROM_INPUT, False, False),
    FROM_OUTPUT: (FROM_OUTPUT, False, False),
    f"{FROM_OUTPUT}_shared": (FROM_OUTPUT, False, True),
    FROM_BOTH: (FROM_BOTH, False, False),
    f"{FROM_BOTH}_shared": (FROM_BOTH, False, True),
    LONGEST_PATH: (LONGEST_PATH, False, False),
}
# Before anything is measured: exporters drop what does not reach the output and share what
# is computed twice, but those that run the network as it is written do neither; folding the
# zeros that come from the input needs one that computes constants as well, and doing only
# that would be odd. Running all branches at once needs a device with room for them.
_PLAUSIBILITY = {
    RAW: 0.5,
    f"{RAW}_shared": 0.25,
    FROM_INPUT: 0.1,
    FROM_OUTPUT: 0.5,
    f"{FROM_OUTPUT}_shared": 1.0,
    FROM_BOTH: 0.5,
    f"{FROM_BOTH}_shared": 0.25,
    LONGEST_PATH: 0.1,
}

Indices = NDArray[np.integer]


@dataclass(frozen=True)
class Architectures:
    """n architectures of a space, in the order of the tables.

    Args:
        views: Per view of the graph, what it holds of each architecture.
        encodings: Choices as numbers, shape ``(n, e)``: one-hot, zeros where inactive.
    """

    views: Mapping[str, Sequence[Graph]]
    encodings: NDArray[np.float64]

    def observed(self) -> Observed:
        """Return what a predictor may know of them."""
        features = {view: graph_features(graphs) for view, graphs in self.views.items()}
        return Observed(features, _PLAUSIBILITY, self.encodings)


def one_hot(values: Indices, choices: Sequence[int]) -> NDArray[np.float64]:
    """Return shape ``(n, slots * len(choices))`` for values of shape ``(n, slots)``."""
    hot: NDArray[np.bool_] = values[:, :, None] == np.asarray(choices)
    return hot.reshape(len(values), -1).astype(np.float64)


# NAS-Bench-201: Dong & Yang (2020), Sec. 2. arXiv:2001.00326

_NONE, _SKIP, _CONV_1X1, _CONV_3X3, _AVG_POOL = range(5)
_CELLS = 5
_WIDTHS = (16, 32, 64)
# what leads to nodes 1, 2 and 3 of a cell, as slices of its six edges
_INTO_NODE = (slice(0, 1), slice(1, 3), slice(3, 6))
_SOURCE = (0, 0, 1, 0, 1, 2)
_SHAREABLE = (_NONE, _AVG_POOL)
# edges from the input of a cell to its output, and what an operator takes, but for a factor
_PATHS = ((0, 2, 5), (0, 4), (1, 5), (3,))
_PATH_COST = {_SKIP: 0.1, _CONV_1X1: 1.0, _CONV_3X3: 2.0, _AVG_POOL: 1.0}

NB201_INPUTS: Mapping[str, tuple[Shape, int]] = {
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "ninapro": ((1, 16, 52), 18),
    "darcy": ((1, 85, 85), 10),
}
"""Input and classes by data set; the last two are NAS-Bench-360's (arXiv:2110.05668)."""


def nb201(ops: Mapping[str, Indices], dataset: str) -> Architectures:
    """Return NB201 cells in the networks they were measured in.

    Args:
        ops: Per view, shape ``(n, 6)``: the operator of each edge, 0 where there is none; the
            view `RAW` is the encoding.
        dataset: A key of `NB201_INPUTS`.
    """
    inputs, classes = NB201_INPUTS[dataset]
    cells = {key: [tuple(cell) for cell in found.tolist()] for key, found in ops.items()}
    if FROM_BOTH in cells:
        cells[LONGEST_PATH] = [_longest_path(cell) for cell in cells[FROM_BOTH]]
    views = {
        view: [_nb201_graph(cell, zeros, shared, inputs, classes) for cell in cells[key]]
        for view, (key, zeros, shared) in _CLEAN_UPS.items()
        if key in cells
    }
    return Architectures(views, one_hot(ops[RAW], range(5)))


def _nb201_graph(
    ops: tuple[int, ...], zeros: bool, shared: bool, inputs: Shape, classes: int
) -> Graph:
    *stages, head = _nb201_skeleton(inputs, classes)
    graph: Graph = ()
    for start in stages:
        graph += start + _cell(ops, zeros, shared, start[-1].output_shape) * _CELLS
    return graph + head


@cache
def _nb201_skeleton(shape: Shape, classes: int) -> tuple[Graph, ...]:
    """Return what stands before the cells of each of the three stages, and the head."""
    builder, parts = GraphBuilder(shape), []
    builder.conv(_WIDTHS[0], 3, 1, "none")
    for width in _WIDTHS[1:]:
        parts.append(_taken(builder))
        _halving_residual(builder, width)
    parts.append(_taken(builder))
    builder.global_avg_pool()
    builder.linear(classes)
    return (*parts, _taken(builder))


def _halving_residual(builder: GraphBuilder, width: int) -> None:
    source = builder.shape
    builder.conv(width, 3, 2, "relu")
    builder.conv(width, 3, 1, "none")
    half = builder.shape
    builder.shape = source
    builder.conv(source[0], 2, 2, "none", depthwise=True)  # 2 x 2 average pooling
    builder.conv(width, 1, 1, "none")
    builder.workloads.append(Workload("add", half, half))


def _taken(builder: GraphBuilder) -> Graph:
    taken = tuple(builder.workloads)
    builder.workloads.clear()
    return taken


@cache
def _longest_path(ops: tuple[int, ...]) -> tuple[int, ...]:
    """Return the operators of the path that takes longest, where all paths run at once."""
    paths = [path for path in _PATHS if all(ops[edge] != _NONE for edge in path)]
    longest = max(paths, key=lambda path: sum(_PATH_COST[ops[e]] for e in path), default=())
    return tuple(op if edge in longest else _NONE for edge, op in enumerate(ops))


@cache
def _cell(ops: tuple[int, ...], zeros: bool, shared: bool, shape: Shape) -> Graph:
    """Return the operators on the edges, and the additions where edges meet.

    Args:
        ops: Operator of each edge.
        zeros: Whether an edge of nothing is multiplied by 0 and added, as written down.
        shared: Whether operators without weights on the same input are computed once.
        shape: Of the features.
    """
    on_edge = {
        **({_NONE: Workload("scale", shape, shape)} if zeros else {}),
        _SKIP: Workload("copy", shape, shape),
        _CONV_1X1: Workload("conv2d", shape, shape, activation="relu"),
        _CONV_3X3: Workload("conv2d", shape, shape, (3, 3), activation="relu"),
        _AVG_POOL: Workload("depthwise_conv2d", shape, shape, (3, 3)),
    }
    cell: list[Workload] = []
    computed: set[tuple[int, int]] = set()
    for into in _INTO_NODE:
        edges = [edge for edge in range(6)[into] if ops[edge] in on_edge]
        for edge in edges:
            value = (_SOURCE[edge], ops[edge])
            if not (shared and value in computed and ops[edge] in _SHAREABLE):
                cell.append(on_edge[ops[edge]])
            computed.add(value)
        cell += [Workload("add", shape, shape)] * (len(edges) - 1)
    return tuple(cell)


# FBNet: Wu et al. (2019), Table 1 (arXiv:1812.03443), with the strides, the head and the blocks
# (a first convolution even at expansion 1) of HW-NAS-Bench's CIFAR-100 networks
# (Li et al. 2021, arXiv:2103.10584)

# channels, layers, stride of the first
_FBNET_STAGES = (
    (16, 1, 1),
    (24, 4, 1),
    (32, 4, 2),
    (64, 4, 2),
    (112, 4, 1),
    (184, 4, 2),
    (352, 1, 1),
)
_FBNET_HEAD = 1504


def fbnet(choices: Indices, names: Sequence[str]) -> Architectures:
    """Return FBNet's networks for CIFAR-100.

    Args:
        choices: Shape ``(n, 22)``: index in ``names`` of each layer's block.
        names: Blocks such as ``k3_e6``, ``k5_e1_g2`` (kernel, expansion, groups) and ``skip``.
    """
    graphs = [_fbnet_graph([names[i] for i in row]) for row in choices.tolist()]
    return Architectures({RAW: graphs}, one_hot(choices, range(len(names))))


def _fbnet_graph(blocks: Sequence[str]) -> Graph:
    builder = GraphBuilder((3, 32, 32))
    builder.conv(16, 3, 1, "relu")
    layers = iter(blocks)
    for channels, repeats, stride in _FBNET_STAGES:
        for index in range(repeats):
            step = stride if index == 0 else 1
            _extend(builder, _fbnet_block(next(layers), builder.shape, channels, step))
    _extend(builder, _head(builder.shape, (_FBNET_HEAD,), (), 100, "relu"))
    return tuple(builder.workloads)


@cache
def _fbnet_block(name: str, shape: Shape, channels: int, stride: int) -> Graph:
    builder = GraphBuilder(shape)
    same = channels == shape[0] and stride == 1
    if name == "skip":
        if not same:
            builder.conv(channels, 1, stride, "relu")
        return tuple(builder.workloads)
    option = {part[0]: int(part[1:]) for part in name.split("_")}
    groups = option.get("g", 1)
    _pointwise(builder, shape[0] * option["e"], groups, "relu")
    builder.conv(builder.shape[0], option["k"], stride, "relu", depthwise=True)
    _pointwise(builder, channels, groups, "none")
    if same:
        builder.workloads.append(Workload("add", shape, shape))
    return tuple(builder.workloads)


def _pointwise(builder: GraphBuilder, channels: int, groups: int, activation: str) -> None:
    shape = builder.shape
    for _ in range(groups):
        builder.shape = (shape[0] // groups, *shape[1:])
        builder.conv(channels // groups, 1, 1, activation)
    builder.shape = (channels, *shape[1:])


def _extend(builder: GraphBuilder, block: Graph) -> None:
    builder.workloads.extend(block)
    if block:
        builder.shape = block[-1].output_shape


@cache
def _head(
    shape: Shape, before: tuple[int, ...], after: tuple[int, ...], classes: int, activation: str
) -> Graph:
    """Return 1 x 1 convolutions before and after pooling, and the classifier."""
    builder = GraphBuilder(shape)
    for channels in before:
        builder.conv(channels, 1, 1, activation)
    builder.global_avg_pool()
    for channels in after:
        builder.conv(channels, 1, 1, activation)
    builder.linear(classes)
    return tuple(builder.workloads)


# Once-for-all MobileNetV3 (Cai et al. 2020, Sec. 4, arXiv:1908.09791): stride, squeeze-and-
# excitation and activation of its stages from Howard et al. (2019), Table 1 (large). Channels are
# 1.2 times those, in multiples of 8: HELP, which measured them, releases code for that supernet.

_OFA_STEM, _OFA_HEAD, _OFA_LAST = 24, 1152, 1536
_OFA_STAGES = (
    (32, 2, False, "relu"),
    (48, 2, True, "relu"),
    (96, 2, False, "hard_swish"),
    (136, 1, True, "hard_swish"),
    (192, 2, True, "hard_swish"),
)
_OFA_SLOTS = 4


def ofa(
    kernels: Indices, expansions: Indices, depths: Indices, resolutions: Indices
) -> Architectures:
    """Return networks of the once-for-all MobileNetV3 supernet for ImageNet.

    Squeeze-and-excitation is as wide as hwnas makes it: rounded to multiples of 4, not 8.

    Args:
        kernels: Shape ``(n, 20)``, four slots for each of five stages.
        expansions: Shape ``(n, 20)``.
        depths: Shape ``(n, 5)``; a stage's slots beyond its depth are inactive.
        resolutions: Shape ``(n,)``, pixels of a side.
    """
    rows = zip(
        *(array.tolist() for array in (kernels, expansions, depths, resolutions)), strict=True
    )
    graphs = [_ofa_graph(*row) for row in rows]
    active = (np.arange(_OFA_SLOTS) < depths[:, :, None]).reshape(len(depths), -1)
    encodings = (
        one_hot(np.where(active, kernels, 0), (3, 5, 7)),
        one_hot(np.where(active, expansions, 0), (3, 4, 6)),
        one_hot(depths, (2, 3, 4)),
        resolutions[:, None] / 224,
    )
    return Architectures({RAW: graphs}, np.concatenate(encodings, axis=1))


def _ofa_graph(
    kernels: Sequence[int], expansions: Sequence[int], depths: Sequence[int], resolution: int
) -> Graph:
    builder = GraphBuilder((3, resolution, resolution))
    builder.conv(_OFA_STEM, 3, 2, "hard_swish")
    builder.inverted_residual(_OFA_STEM, 3, 1, 1, False, "relu")
    for stage, (channels, stride, se, activation) in enumerate(_OFA_STAGES):
        for index in range(depths[stage]):
            slot = stage * _OFA_SLOTS + index
            step = stride if index == 0 else 1
            options = (channels, kernels[slot], step, expansions[slot], se, activation)
            _extend(builder, _inverted_residual(builder.shape, *options))
    _extend(builder, _head(builder.shape, (_OFA_HEAD,), (_OFA_LAST,), 1000, "hard_swish"))
    return tuple(builder.workloads)


@cache
def _inverted_residual(
    shape: Shape, channels: int, kernel: int, stride: int, expansion: int, se: bool, activation: str
) -> Graph:
    builder = GraphBuilder(shape)
    builder.inverted_residual(channels, kernel, stride, expansion, se, activation)
    return tuple(builder.workloads)
