"""What is known of architectures before any of them is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import Graph
from latency_predictors.features import GraphFeatures, graph_features
from latency_predictors.operating_point import checked_clocks

_ONLY_VIEW = "graph"


@dataclass(frozen=True)
class Observed:
    """What is known of n architectures before any of them is measured.

    Args:
        views: Features of the graph of each architecture, per view: as written down, without
            its dead ends, ... Which of them is what a device executes is learned.
        plausibility: Weight of a view before anything was measured; 1 if not given.
        encodings: Shape ``(n, e)``: choices as numbers, for what no view tells, such as the
            order of operators. None if the graphs tell all.
        relative_clocks: Shape ``(n,)``: clock of the device, relative to its highest. None
            where there is but one.
    """

    views: Mapping[str, GraphFeatures]
    plausibility: Mapping[str, float] = field(default_factory=dict)
    encodings: NDArray[np.float64] | None = None
    relative_clocks: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.views.values())))

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> Observed:
        return Observed(
            {name: features[rows] for name, features in self.views.items()},
            self.plausibility,
            None if self.encodings is None else self.encodings[rows],
            None if self.relative_clocks is None else self.relative_clocks[rows],
        )


def observed_graphs(graphs: Sequence[Graph], relative_clocks: Sequence[float] | None) -> Observed:
    """Return what n graphs tell, where there is but one view of them.

    Args:
        graphs: n graphs.
        relative_clocks: Length n, where there are several clocks.

    Raises:
        ValueError: If a clock is not above 0 and at most 1, or their number is not n.
    """
    return observed_features(graph_features(graphs), relative_clocks)


def observed_features(features: GraphFeatures, relative_clocks: Sequence[float] | None) -> Observed:
    """Return what the features of n graphs tell: see `observed_graphs`."""
    clocks = None if relative_clocks is None else checked_clocks(relative_clocks, len(features))
    return Observed({_ONLY_VIEW: features}, relative_clocks=clocks)
