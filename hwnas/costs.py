"""Predicted costs of architectures and whether they can meet an experiment's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.early_exit import expected_cost
from hwnas.errors import UserError
from hwnas.objectives import Constraint
from latency_predictors import ModelledEnergy, Prediction, modelled_energy
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import Architecture, SearchSpace
from targets import EnergyModel


@dataclass(frozen=True)
class ArchitectureCosts:
    """Predicted costs of one architecture; worst case means through every exit.

    Args:
        stage_latency_s: Per stage, in execution order.
        stage_energy_j: Modelled, per stage.
        latency_s: Worst case.
        energy_j: Worst case, modelled.
        flash_bytes: Of all stages.
        peak_ram_bytes: Largest of any stage.
    """

    stage_latency_s: tuple[Prediction, ...]
    stage_energy_j: tuple[ModelledEnergy, ...]
    latency_s: Prediction
    energy_j: ModelledEnergy
    flash_bytes: Prediction
    peak_ram_bytes: Prediction

    def expected(self, metric: str, exit_shares: Sequence[float]) -> float:
        """Return a cost to optimize, given which share of samples leaves at each exit."""
        if metric == "latency_s":
            return expected_cost(exit_shares, [p.mean for p in self.stage_latency_s])
        if metric == "energy_j":
            return expected_cost(exit_shares, [e.energy_j for e in self.stage_energy_j])
        return {
            "flash_bytes": self.flash_bytes.mean,
            "peak_ram_bytes": self.peak_ram_bytes.mean,
        }[metric]

    def range_of(self, metric: str) -> tuple[float, float]:
        """Return a cost were every sample to leave at the first exit, and at the last."""
        n = len(self.stage_latency_s)
        first, last = [1.0, *[0.0] * (n - 1)], [*[0.0] * (n - 1), 1.0]
        return self.expected(metric, first), self.expected(metric, last)

    def upper_bound(self, metric: str) -> float:
        """Return the upper end of the interval of a constrained metric."""
        return {
            "worst_latency_s": self.latency_s.high,
            "worst_energy_j": self.energy_j.high_j,
            "flash_bytes": self.flash_bytes.high,
            "peak_ram_bytes": self.peak_ram_bytes.high,
        }[metric]

    def violations(self, constraints: Sequence[Constraint]) -> dict[str, float]:
        """Return the relative violation of each limit on costs; met where it is at most 0."""
        return {
            c.name: c.violation(self.upper_bound(c.metric))
            for c in constraints
            if c.is_known_before_training
        }

    def is_feasible(self, constraints: Sequence[Constraint]) -> bool:
        """Return whether the upper bounds meet every limit."""
        return all(v <= 0 for v in self.violations(constraints).values())


class CostModel:
    """Predicts the costs of a space's architectures on one target.

    Args:
        space: Search space.
        predictors: Calibrated on the target.
        energy_model: Of the target, used while no meter is attached.
    """

    def __init__(
        self, space: SearchSpace, predictors: TargetPredictors, energy_model: EnergyModel
    ) -> None:
        self._space = space
        self._predictors = predictors
        self._energy_model = energy_model

    def predict(self, architectures: Sequence[Architecture]) -> list[ArchitectureCosts]:
        """Predict the costs of each architecture."""
        graphs = [tuple(s.workloads for s in self._space.stages(a)) for a in architectures]
        out = []
        for stages, costs in zip(graphs, self._predictors.predict(graphs), strict=True):
            energy = tuple(
                modelled_energy(latency.mean, graph, self._energy_model)
                for latency, graph in zip(costs.stage_latency_s, stages, strict=True)
            )
            out.append(
                ArchitectureCosts(
                    costs.stage_latency_s,
                    energy,
                    costs.latency_s,
                    total_energy(energy),
                    costs.flash_bytes,
                    costs.peak_ram_bytes,
                )
            )
        return out


def total_energy(parts: Sequence[ModelledEnergy]) -> ModelledEnergy:
    """Add modelled energies; their model errors are shared, so ranges add too."""
    return ModelledEnergy(
        sum(p.energy_j for p in parts), sum(p.low_j for p in parts), sum(p.high_j for p in parts)
    )


def feasible(
    architectures: Sequence[Architecture],
    costs: Sequence[ArchitectureCosts],
    constraints: Sequence[Constraint],
) -> list[Architecture]:
    """Return the architectures whose upper bounds meet every limit on costs.

    Raises:
        UserError: If none does; says which limit binds and by how much.
    """
    kept = [a for a, c in zip(architectures, costs, strict=True) if c.is_feasible(constraints)]
    if not kept:
        limits = [c for c in constraints if c.is_known_before_training]
        raise UserError(_why_infeasible(costs, limits))
    return kept


def _why_infeasible(costs: Sequence[ArchitectureCosts], constraints: Sequence[Constraint]) -> str:
    n = len(costs)
    reasons = []
    for constraint in constraints:
        least = min(c.upper_bound(constraint.metric) for c in costs)
        if constraint.violation(least) > 0:
            reasons.append(
                f"constraints.{constraint.name}: {constraint.shown(constraint.bound)} is out of "
                f"reach; the smallest of {n} sampled architectures needs up to "
                f"{constraint.shown(least)}, {constraint.shown(least - constraint.bound)} over"
            )
    if not reasons:
        worst = [max(c.violations(constraints).items(), key=lambda item: item[1]) for c in costs]
        name, violation = worst[int(np.argmin([v for _, v in worst]))]
        reasons.append(
            f"constraints: each limit can be met, but none of {n} sampled architectures meets "
            f"all of them; the nearest exceeds {name} by {violation:.1%}"
        )
    return f"{'; '.join(reasons)}. Raise the limit or allow smaller choices in space.choices."
