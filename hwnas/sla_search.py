"""An SLA as limits of a search: what it cannot reach, nothing is trained for."""

from __future__ import annotations

from typing import Any

from hwnas.config import ExperimentConfig, parse_config
from hwnas.errors import UserError
from hwnas.objectives import in_file_unit
from hwnas.sla import Clause, Sla


def with_sla(config: ExperimentConfig, sla: Sla) -> ExperimentConfig:
    """Return an experiment whose limits are no wider than an SLA's.

    Critical and high clauses that entries of ``constraints`` can express become such
    entries, the stricter of both; a product that the SLA names becomes the experiment's.
    Recall, accuracy drops and the like are judged once variants are measured.

    Raises:
        UserError: If the experiment describes another product, or lacks what a clause needs.
    """
    document = config.model_dump(mode="json")
    if sla.product is not None:
        if config.product not in (None, sla.product):
            raise UserError(
                f"{sla.source}: product: differs from section product of the experiment. "
                "Remove one of them."
            )
        document["product"] = sla.product.model_dump(mode="json")
    for clause in sla.binding:
        _tighten(document["constraints"], clause)
    return parse_config(document, sla.source)


def _tighten(constraints: dict[str, Any], clause: Clause) -> None:
    name = clause.metric.constraint
    if name is None:
        return
    bound = 1 / clause.limit if clause.metric.is_reciprocal else clause.limit
    stricter = max if name.startswith("min_") else min
    limits = [in_file_unit(name, bound), constraints[name]]
    constraints[name] = stricter(limit for limit in limits if limit is not None)
