"""The SLA file: limits that what is deployed must keep, in three tiers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, PlainValidator

from hwnas.config import load_product
from hwnas.config_file import read_document, validated
from hwnas.errors import UserError
from hwnas.product_config import ProductConfig
from hwnas.recall_names import recall_name
from hwnas.sla_metrics import SlaMetric, sla_metric, unit_factor

Tier: TypeAlias = Literal["critical", "high", "medium"]

TIERS: tuple[Tier, ...] = ("critical", "high", "medium")
"""``critical`` must be shown by measurement; ``high`` must hold, if only by a projection;
``medium`` is wanted."""

_CLAUSE = re.compile(
    r"\s*(?P<metric>[A-Za-z]\w*(?: \w+)*)\s*(?:\((?P<class_name>.+)\))?"
    r"\s*(?P<relation><=|>=|<|>)"
    r"\s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<unit>\S*)\s*"
)


@dataclass(frozen=True)
class Clause:
    """One limit, such as ``energy < 5 mJ``.

    Args:
        metric: What is limited.
        class_name: Whose recall, where it is that of one class.
        is_strict: Whether the limit itself is not allowed.
        limit: In the unit of the metric: SI, and days for a battery's life.
        unit: As written, which it prints in.
    """

    metric: SlaMetric
    class_name: str | None
    is_strict: bool
    limit: float
    unit: str

    @classmethod
    def parse(cls, text: object) -> Clause:
        """Read a clause as it is written in a file.

        Raises:
            ValueError: If it is none; says what was wanted.
        """
        found = _CLAUSE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f"wanted a limit such as 'energy < 5 mJ'. Got {text!r}.")
        try:
            return cls._of(found)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None

    @classmethod
    def _of(cls, found: re.Match[str]) -> Clause:
        metric = sla_metric(found["metric"])
        if found["class_name"] is not None and metric.name != "recall":
            raise ValueError(f"{metric.name} is not known by class; only recall is.")
        wanted = (">", ">=") if metric.is_minimum else ("<", "<=")
        if found["relation"] not in wanted:
            raise ValueError(
                f"wanted {wanted[0]} or {wanted[1]}, as {'more' if metric.is_minimum else 'less'} "
                f"of {metric.name} is better. Got {found['relation']}."
            )
        limit = float(found["number"]) * unit_factor(metric, found["unit"])
        _check_limit(metric, limit)
        class_name = found["class_name"].strip() if found["class_name"] else None
        is_strict = not found["relation"].endswith("=")
        return cls(metric, class_name, is_strict, limit, found["unit"])

    @property
    def key(self) -> str:
        """In the metrics of a variant."""
        return self.metric.key if self.class_name is None else recall_name(self.class_name)

    def holds(self, value: float) -> bool:
        """Return whether a value of the metric keeps the limit."""
        margin = self.margin(value)
        return margin > 0 or (margin == 0 and not self.is_strict)

    def margin(self, value: float) -> float:
        """Return how far a value stays on the good side of the limit, in the metric's unit."""
        return value - self.limit if self.metric.is_minimum else self.limit - value

    def shown(self, value: float) -> str:
        """Return a value of the metric in the unit that the limit is written in."""
        return f"{value / self.metric.units[self.unit]:.4g} {self.unit}".rstrip()

    def __str__(self) -> str:
        relation = (">" if self.metric.is_minimum else "<") + "=" * (not self.is_strict)
        name = self.metric.name if self.class_name is None else self.key
        return f"{name} {relation} {self.shown(self.limit)}"


def _check_limit(metric: SlaMetric, limit: float) -> None:
    if metric.quantity == "fraction":
        if not 0 <= limit <= 1:
            raise ValueError(f"wanted a limit from 0 to 1, or from 0 to 100 %. Got {limit:g}.")
    elif not (limit > 0 and math.isfinite(limit)):
        raise ValueError(f"wanted a limit of more than 0. Got {limit:g}.")


_Clauses = tuple[Annotated[Clause, PlainValidator(Clause.parse)], ...]


class _SlaFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    critical: _Clauses = ()
    high: _Clauses = ()
    medium: _Clauses = ()
    product: str | None = None


@dataclass(frozen=True)
class Sla:
    """All limits of a file.

    Args:
        source: What messages call it.
        tiers: Clauses by tier, in the order of `TIERS`.
        product: What the network is part of; ``None`` where that is the run's matter.
    """

    source: str
    tiers: dict[Tier, tuple[Clause, ...]]
    product: ProductConfig | None = None

    @property
    def binding(self) -> tuple[Clause, ...]:
        """The clauses that must hold."""
        return (*self.tiers["critical"], *self.tiers["high"])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            **{tier: [str(clause) for clause in clauses] for tier, clauses in self.tiers.items()},
            "product": self.product.model_dump(mode="json") if self.product else None,
        }


def load_sla(path: Path) -> Sla:
    """Read an SLA.

    Args:
        path: YAML file: lists of clauses under ``critical``, ``high`` and ``medium``, and
            under ``product`` a file that describes the product, relative to this one.

    Raises:
        UserError: One line naming file, clause, what was wanted and what came.
    """
    file = validated(read_document(path), str(path), _SlaFile)
    tiers = {tier: getattr(file, tier) for tier in TIERS}
    if not any(tiers.values()):
        raise UserError(f"{path}: wanted a clause under {', '.join(TIERS)}. Got none.")
    for place, clause in enumerate(tiers["critical"]):
        if clause.metric.needs is not None:
            raise UserError(
                f"{path}: critical.{place}: {clause.metric.name} is computed from a description "
                "of the product and never measured. Put it under high."
            )
    product = load_product(path.parent / file.product) if file.product is not None else None
    return Sla(str(path), tiers, product)
