"""The nouns of a predictor: prediction, unknown workload, and the predictor itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from search_spaces import Workload

Graph: TypeAlias = "tuple[Workload, ...]"
"""The fused operators of one measured graph, in execution order."""


class UnknownWorkloadError(LookupError):
    """A graph holds an operator no calibration measurement contained."""


@dataclass(frozen=True)
class Prediction:
    """An estimate of one positive cost of one graph, in the unit of the metric.

    Args:
        mean: Predicted value.
        std: Standard deviation of the prediction error, same unit.
        low: Lower end of the interval at the predictor's confidence (90 %).
        high: Upper end of that interval.
        in_domain: False when a feature lies outside the range of the
            calibration measurements, so that this is an extrapolation.
    """

    mean: float
    std: float
    low: float
    high: float
    in_domain: bool


@dataclass(frozen=True)
class Predictions:
    """Predictions of n costs as arrays of shape ``(n,)``; see `Prediction`."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    in_domain: NDArray[np.bool_]

    def to_list(self) -> list[Prediction]:
        """Return one object per prediction."""
        columns = (self.mean, self.std, self.low, self.high, self.in_domain)
        return [Prediction(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]


@runtime_checkable
class CostPredictor(Protocol):
    """Learns one positive cost (seconds, bytes) of a graph from measurements."""

    def fit(
        self, graphs: Sequence[Graph], values: NDArray[np.float64], groups: Sequence[str]
    ) -> Self:
        """Learn from measured graphs.

        Args:
            graphs: n measured graphs.
            values: Shape ``(n,)``, positive.
            groups: Length n; graphs of one architecture share a group, so that
                cross-validation never splits it.
        """
        ...

    def predict(self, graphs: Sequence[Graph]) -> list[Prediction]:
        """Predict the cost of each graph.

        Raises:
            UnknownWorkloadError: If a graph holds an operator not calibrated.
        """
        ...
