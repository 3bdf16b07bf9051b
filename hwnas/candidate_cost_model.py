"""Costs and limits of arrays of candidates, as samplers want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.cost_ranges import WORST_CASE
from hwnas.cost_table import CostTable, Exit
from hwnas.costs import CostModel
from hwnas.objectives import Constraint, Objective
from hwnas.samplers.candidate_costs import CandidateCosts
from latency_predictors.target_predictors import METRICS

if TYPE_CHECKING:
    from search_spaces.encoding import Encodings

# What leaves early takes a share of it that varies little: of 129 networks with exits, trained on
# spoken digits, 0.89 (deviation of the logarithm 0.11); of the first exit alone, 1.5 (0.36).
_PRIOR_EXIT: Exit = "last"


class CandidateCostModel:
    """A `CostFunction` of a search: predicts candidates from their encodings.

    Values of objectives are those of the path through every exit: what is evaluated later is
    less by a factor that the exits decide. Limits are judged as `ArchitectureCosts` does.

    Args:
        cost_model: Of the space on the target.
        objectives: What to optimize; accuracy is not known.
        constraints: Limits; those on accuracy are left out.

    Raises:
        UserError: If a limit is on what the predictors have not learned.
    """

    def __init__(
        self,
        cost_model: CostModel,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
    ) -> None:
        cost_model.require(constraints)
        self._cost_model = cost_model
        self._objectives = tuple(objectives)
        self.constraints = tuple(c for c in constraints if c.is_on_costs)
        self._for_limits = _needed((), self.constraints)
        self._metrics = _needed(self._objectives, self.constraints)

    def __call__(self, encodings: Encodings) -> CandidateCosts:
        """Predict the costs of n candidates.

        Args:
            encodings: Shape ``(n, d)``: see `search_spaces.encoding.encode`; canonical or not.

        Raises:
            UnknownWorkloadError: If one holds an operator not calibrated.
            ValueError: If an encoding is none of the space.
        """
        table = self._cost_model.predict_encodings(encodings, self._metrics)
        values = np.full((len(table), len(self._objectives)), np.nan)
        log_stds = values.copy()
        for column, objective in enumerate(self._objectives):
            if objective.name != "accuracy":
                values[:, column] = table.value(objective.metric, _PRIOR_EXIT)
                log_stds[:, column] = table.log_std(objective.metric, _PRIOR_EXIT)
        found = self._violations(table)
        worst = found.max(axis=1) if self.constraints else np.zeros(len(table))
        return CandidateCosts(values, log_stds, worst)

    def violations(self, encodings: Encodings) -> NDArray[np.float64]:
        """Return the relative violation of each of the k limits, shape ``(n, k)``.

        Args:
            encodings: As for a call.

        Raises:
            UnknownWorkloadError, ValueError: As for a call.
        """
        return self._violations(self._cost_model.predict_encodings(encodings, self._for_limits))

    def _violations(self, table: CostTable) -> NDArray[np.float64]:
        judged = [c.violation(table.judged(c)) for c in self.constraints]
        return np.stack(judged, axis=1) if judged else np.empty((len(table), 0))


def _needed(objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> list[str]:
    """Return the predictors that objectives and limits follow from."""
    wanted = {o.metric for o in objectives if o.name != "accuracy"}
    wanted |= {WORST_CASE.get(c.metric, c.metric) for c in constraints}
    wanted = {"latency_s" if name == "latency_p99_s" else name for name in wanted}
    if wanted - set(METRICS):
        wanted |= {"latency_s", "energy_j"}
    return [name for name in METRICS if name in wanted]
