"""Predicted costs of many architectures at once, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.cost_ranges import WORST_CASE, Range, mean_cost
from hwnas.objectives import Constraint
from hwnas.product_config import ProductConfig
from latency_predictors import Predictions
from latency_predictors.path_costs import of_paths
from latency_predictors.tail import TailRatio

Array: TypeAlias = NDArray[np.float64]
Exit: TypeAlias = Literal["first", "last"]

_SIZES = ("flash_bytes", "peak_ram_bytes")  # wherever samples leave


@dataclass(frozen=True)
class CostTable:
    """Predicted costs of n architectures, as `ArchitectureCosts` are those of one.

    Args:
        stages: Per metric: predictions of the stages of all architectures, those of one in a
            row and in execution order.
        first: Shape ``(n,)``: where the stages of each architecture begin, ascending from 0.
        product: What surrounds the network, where the experiment says so.
        tail: How far P99 lies above the median latency, where that is known.
    """

    stages: Mapping[str, Predictions]
    first: NDArray[np.intp]
    product: ProductConfig | None = None
    tail: TailRatio | None = None

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def paths(self) -> dict[str, Predictions]:
        """Per metric: predictions of the n paths through every exit.

        Beside those of ``stages``: ``latency_p99_s``, where it is known.
        """
        paths = {name: of_paths(name, stages, self.first) for name, stages in self.stages.items()}
        if self.tail is not None and "latency_s" in paths:
            paths["latency_p99_s"] = self.tail.p99(paths["latency_s"])
        return paths

    def value(self, metric: str, exit_taken: Exit) -> Array:
        """Return a cost to optimize, shape ``(n,)``, were all samples to leave at one exit.

        Args:
            metric: Of an objective.
            exit_taken: The first exit of every network, or the last.
        """
        return self._mean(metric, exit_taken).value

    def log_std(self, metric: str, exit_taken: Exit) -> Array:
        """Return the standard deviation of the logarithm of each `value`, shape ``(n,)``.

        What follows from the energy is as sure as energies one deviation above and below
        make it. The error that modelled energies share is left out: it favours none.
        """
        if metric in self.stages:
            return self._log_std(metric, exit_taken)
        time, energy = self._leaving("latency_s", exit_taken), self._leaving("energy_j", exit_taken)
        factor = np.exp(self._log_std("energy_j", exit_taken))
        of_energies = Range(energy.value, energy.value / factor, energy.value * factor)
        at_times = Range(time.value, time.value, time.value)
        ends = mean_cost(metric, at_times, of_energies, self.product)
        return np.asarray(np.log(ends.high / ends.low) / 2)

    def judged(self, constraint: Constraint) -> Array:
        """Return the end of an interval that a limit on costs judges, shape ``(n,)``.

        A mean over the exits is judged as if all samples left at the first: see
        `ArchitectureCosts.pessimistic`.
        """
        if constraint.of_mean:
            return constraint.pessimistic(*self._mean(constraint.metric, "first"))
        return self.paths[WORST_CASE[constraint.metric]].high

    def _mean(self, metric: str, exit_taken: Exit) -> Range[Array]:
        if metric in self.stages:
            return self._leaving(metric, exit_taken)
        latency, energy = (self._leaving(m, exit_taken) for m in ("latency_s", "energy_j"))
        return mean_cost(metric, latency, energy, self.product)

    def _leaving(self, metric: str, exit_taken: Exit) -> Range[Array]:
        p, rows = self._of_exit(metric, exit_taken)
        return Range(p.mean[rows], p.low[rows], p.high[rows])

    def _log_std(self, metric: str, exit_taken: Exit) -> Array:
        p, rows = self._of_exit(metric, exit_taken)
        return np.asarray(p.std[rows] / p.mean[rows])

    def _of_exit(
        self, metric: str, exit_taken: Exit
    ) -> tuple[Predictions, NDArray[np.intp] | slice]:
        if exit_taken == "first" and metric not in _SIZES:
            return self.stages[metric], self.first
        return self.paths[metric], slice(None)
