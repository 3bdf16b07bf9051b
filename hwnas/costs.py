"""Predicted costs of architectures and whether they can meet an experiment's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.early_exit import expected_cost
from hwnas.errors import UserError
from hwnas.objectives import Constraint
from hwnas.product_config import ProductConfig
from hwnas.product_costs import product_ranges
from latency_predictors import EnergyRange, Prediction, learned_energy
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import Architecture, SearchSpace
from targets import EnergyModel


@dataclass(frozen=True)
class ArchitectureCosts:
    """Predicted costs of one architecture; worst case means through every exit.

    Args:
        stage_latency_s: Per stage, in execution order.
        stage_energy_j: Gross, per stage.
        latency_s: Worst case.
        energy_j: Worst case, gross.
        flash_bytes: Of all stages.
        peak_ram_bytes: Largest of any stage.
        product: What surrounds the network, where the experiment says so.
    """

    stage_latency_s: tuple[Prediction, ...]
    stage_energy_j: tuple[EnergyRange, ...]
    latency_s: Prediction
    energy_j: EnergyRange
    flash_bytes: Prediction
    peak_ram_bytes: Prediction
    product: ProductConfig | None = None

    def expected(self, metric: str, exit_shares: Sequence[float]) -> float:
        """Return a cost to optimize, given which share of samples leaves at each exit."""
        if metric == "flash_bytes":
            return self.flash_bytes.mean
        if metric == "peak_ram_bytes":
            return self.peak_ram_bytes.mean
        return self._mean(metric, exit_shares)[0]

    def range_of(self, metric: str) -> tuple[float, float]:
        """Return a cost were every sample to leave at the first exit, and at the last."""
        last = [*[0.0] * (len(self.stage_latency_s) - 1), 1.0]
        return self.expected(metric, self._all_at_first), self.expected(metric, last)

    def pessimistic(
        self, constraint: Constraint, exit_shares: Sequence[float] | None = None
    ) -> float:
        """Return the end of an interval that a limit on costs judges.

        Args:
            constraint: The limit.
            exit_shares: Share of samples that leaves at each exit; where that is not
                known yet, all at the first: a limit not met then is never met.
        """
        if constraint.of_mean:
            shares = self._all_at_first if exit_shares is None else exit_shares
            return constraint.pessimistic(*self._mean(constraint.metric, shares))
        return {
            "worst_latency_s": self.latency_s.high,
            "sustained_latency_s": self.latency_s.high,
            "worst_energy_j": self.energy_j.high_j,
            "flash_bytes": self.flash_bytes.high,
            "peak_ram_bytes": self.peak_ram_bytes.high,
        }[constraint.metric]

    def violations(
        self, constraints: Sequence[Constraint], exit_shares: Sequence[float] | None = None
    ) -> dict[str, float]:
        """Return the relative violation of each limit on costs; met where it is at most 0.

        Args:
            constraints: Limits; those on accuracy are left out.
            exit_shares: As in `pessimistic`.
        """
        return {
            c.name: c.violation(self.pessimistic(c, exit_shares))
            for c in constraints
            if c.is_on_costs
        }

    @property
    def _all_at_first(self) -> list[float]:
        return [1.0, *[0.0] * (len(self.stage_latency_s) - 1)]

    def _mean(self, metric: str, exit_shares: Sequence[float]) -> tuple[float, float, float]:
        """Return value, lower and upper end of a cost that is a mean over the exits."""
        times, energies = self.stage_latency_s, self.stage_energy_j
        latency = (
            expected_cost(exit_shares, [p.mean for p in times]),
            expected_cost(exit_shares, [p.low for p in times]),
            expected_cost(exit_shares, [p.high for p in times]),
        )
        if metric == "latency_s":
            return latency
        energy = (
            expected_cost(exit_shares, [e.energy_j for e in energies]),
            expected_cost(exit_shares, [e.low_j for e in energies]),
            expected_cost(exit_shares, [e.high_j for e in energies]),
        )
        if metric == "energy_j":
            return energy
        if metric == "inferences_per_joule":
            return 1 / energy[0], 1 / energy[2], 1 / energy[1]
        if self.product is None:
            raise KeyError(metric)
        return product_ranges(self.product, energy, latency)[metric]

    def is_feasible(self, constraints: Sequence[Constraint]) -> bool:
        """Return whether the pessimistic ends meet every limit on costs that can be known."""
        return all(v <= 0 for v in self.violations(constraints).values())


class CostModel:
    """Predicts the costs of a space's architectures on one target.

    Args:
        space: Search space.
        predictors: Calibrated on the target.
        energy_model: Of the target: how sure its modelled energies are.
        product: What surrounds the network, where the experiment says so.
    """

    def __init__(
        self,
        space: SearchSpace,
        predictors: TargetPredictors,
        energy_model: EnergyModel,
        product: ProductConfig | None = None,
    ) -> None:
        self._space = space
        self._predictors = predictors
        self._energy_model = energy_model
        self._product = product

    def predict(self, architectures: Sequence[Architecture]) -> list[ArchitectureCosts]:
        """Predict the costs of each architecture."""
        graphs = [tuple(s.workloads for s in self._space.stages(a)) for a in architectures]
        out = []
        for costs in self._predictors.predict(graphs):
            energy = tuple(
                learned_energy(p, self._predictors.energy_provenance, self._energy_model)
                for p in costs.stage_energy_j
            )
            out.append(
                ArchitectureCosts(
                    costs.stage_latency_s,
                    energy,
                    costs.latency_s,
                    total_energy(energy),
                    costs.flash_bytes,
                    costs.peak_ram_bytes,
                    self._product,
                )
            )
        return out


def total_energy(parts: Sequence[EnergyRange]) -> EnergyRange:
    """Add energies; their errors may be shared, so that ranges add, too."""
    return EnergyRange(
        sum(p.energy_j for p in parts), sum(p.low_j for p in parts), sum(p.high_j for p in parts)
    )


def feasible(
    architectures: Sequence[Architecture],
    costs: Sequence[ArchitectureCosts],
    constraints: Sequence[Constraint],
) -> list[Architecture]:
    """Return the architectures whose pessimistic ends meet every limit on costs.

    Raises:
        UserError: If none does; says which limit binds and by how much.
    """
    kept = [a for a, c in zip(architectures, costs, strict=True) if c.is_feasible(constraints)]
    if not kept:
        limits = [c for c in constraints if c.is_on_costs]
        raise UserError(_why_infeasible(costs, limits))
    return kept


def _why_infeasible(costs: Sequence[ArchitectureCosts], constraints: Sequence[Constraint]) -> str:
    n = len(costs)
    reasons = []
    for constraint in constraints:
        reached = [c.pessimistic(constraint) for c in costs]
        best = max(reached) if constraint.is_minimum else min(reached)
        if constraint.violation(best) > 0:
            found = (
                f"the best of {n} sampled architectures is sure of {constraint.shown(best)} only"
                if constraint.is_minimum
                else f"the smallest of {n} sampled architectures needs up to "
                f"{constraint.shown(best)}, {constraint.shown(best - constraint.bound)} over"
            )
            reasons.append(
                f"{constraint.section}.{constraint.name}: {constraint.shown(constraint.bound)} "
                f"is out of reach; {found}"
            )
    if not reasons:
        worst = [max(c.violations(constraints).items(), key=lambda item: item[1]) for c in costs]
        name, violation = worst[int(np.argmin([v for _, v in worst]))]
        reasons.append(
            f"constraints: each limit can be met, but none of {n} sampled architectures meets "
            f"all of them; the nearest exceeds {name} by {violation:.1%}"
        )
    return f"{'; '.join(reasons)}. Raise the limit or allow smaller choices in space.choices."
