"""Predicted costs of architectures and whether they can meet an experiment's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwnas.cost_ranges import WORST_CASE, Range, mean_cost
from hwnas.cost_table import CostTable
from hwnas.early_exit import expected_cost
from hwnas.errors import UserError
from hwnas.objectives import Constraint
from hwnas.product_config import ProductConfig
from latency_predictors import EnergyRange, Prediction
from latency_predictors._types import Graph
from latency_predictors.energy import learned_energies
from latency_predictors.space_features import SpaceFeatures
from latency_predictors.target_predictors import METRICS, TargetPredictors
from search_spaces import Architecture, SearchSpace
from search_spaces.encoding import encode
from targets import EnergyModel

if TYPE_CHECKING:
    from search_spaces.encoding import Encodings


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
        latency_p99_s: Worst case, where enough inferences were timed to learn it.
    """

    stage_latency_s: tuple[Prediction, ...]
    stage_energy_j: tuple[EnergyRange, ...]
    latency_s: Prediction
    energy_j: EnergyRange
    flash_bytes: Prediction
    peak_ram_bytes: Prediction
    product: ProductConfig | None = None
    latency_p99_s: Prediction | None = None

    @property
    def mean_stage_latency_s(self) -> tuple[float, ...]:
        """Mean latency of each stage, in execution order."""
        return tuple(latency.mean for latency in self.stage_latency_s)

    def expected(self, metric: str, exit_shares: Sequence[float]) -> float:
        """Return a cost to optimize, given which share of samples leaves at each exit."""
        if metric == "flash_bytes":
            return self.flash_bytes.mean
        if metric == "peak_ram_bytes":
            return self.peak_ram_bytes.mean
        return self._mean(metric, exit_shares).value

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
        worst: Prediction | EnergyRange | None = getattr(self, WORST_CASE[constraint.metric])
        if worst is None:
            raise KeyError(constraint.metric)
        return worst.high_j if isinstance(worst, EnergyRange) else worst.high

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

    def _mean(self, metric: str, exit_shares: Sequence[float]) -> Range[float]:
        """Return a cost that is a mean over the exits."""
        times, energies = self.stage_latency_s, self.stage_energy_j
        latency = Range(
            expected_cost(exit_shares, [p.mean for p in times]),
            expected_cost(exit_shares, [p.low for p in times]),
            expected_cost(exit_shares, [p.high for p in times]),
        )
        energy = Range(
            expected_cost(exit_shares, [e.energy_j for e in energies]),
            expected_cost(exit_shares, [e.low_j for e in energies]),
            expected_cost(exit_shares, [e.high_j for e in energies]),
        )
        return mean_cost(metric, latency, energy, self.product)

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
        self._features = SpaceFeatures(space)
        self._predictors = predictors
        self._energy_model = energy_model
        self._product = product

    def require(self, constraints: Sequence[Constraint]) -> None:
        """Refuse a limit on what the predictors have not learned.

        Raises:
            UserError: If there is one.
        """
        for constraint in constraints:
            if WORST_CASE.get(constraint.metric) == "latency_p99_s" and not self._predictors.tail:
                raise UserError(
                    f"{constraint.section}.{constraint.name}: the predictors of "
                    f"{self._predictors.target} know no P99. Calibrate again, with at least 8 "
                    "architectures and 100 inferences of each."
                )

    def predict(self, architectures: Sequence[Architecture]) -> list[ArchitectureCosts]:
        """Predict the costs of each architecture.

        Raises:
            UnknownWorkloadError: If one holds an operator not calibrated.
            ValueError: If one is none of the space.
        """
        table = self.predict_encodings(encode(self._space, architectures))
        latencies = table.stages["latency_s"].to_list()
        energies = [_energy_range(p) for p in table.stages["energy_j"].to_list()]
        latency, energy, flash, ram = (table.paths[name].to_list() for name in METRICS)
        tails = table.paths.get("latency_p99_s")
        p99 = [None] * len(table) if tails is None else tails.to_list()
        ends = [*table.first[1:].tolist(), len(latencies)]
        return [
            ArchitectureCosts(
                tuple(latencies[start:end]),
                tuple(energies[start:end]),
                latency[row],
                _energy_range(energy[row]),
                flash[row],
                ram[row],
                self._product,
                p99[row],
            )
            for row, (start, end) in enumerate(zip(table.first.tolist(), ends, strict=True))
        ]

    def stage_latency_s(self, stages: Sequence[Graph]) -> tuple[float, ...]:
        """Return the mean latency of each stage of a network, which may be none of the space.

        Args:
            stages: Fused operators of each stage, in execution order.

        Raises:
            UnknownWorkloadError: If one holds an operator not calibrated.
        """
        (costs,) = self._predictors.predict([stages])
        return tuple(latency.mean for latency in costs.stage_latency_s)

    def predict_encodings(
        self, encodings: Encodings, metrics: Sequence[str] = METRICS
    ) -> CostTable:
        """Predict the costs of many architectures, as arrays.

        Args:
            encodings: Shape ``(n, d)``: see `search_spaces.encoding.encode`; canonical or not.
            metrics: Which of `METRICS`: fewer take less time.

        Raises:
            UnknownWorkloadError, ValueError: As `predict`.
        """
        stages, first = self._predictors.predict_encoded_stages(
            self._features, encodings, metrics=metrics
        )
        if "energy_j" in stages:
            stages["energy_j"] = learned_energies(
                stages["energy_j"], self._predictors.energy_provenance, self._energy_model
            )
        return CostTable(stages, first, self._product, self._predictors.tail)


def _energy_range(prediction: Prediction) -> EnergyRange:
    return EnergyRange(prediction.mean, prediction.low, prediction.high)
