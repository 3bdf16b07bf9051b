"""Judge metrics by an SLA: what passes, what would, and what fails, by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from hwnas.candidate_energy import system_metrics
from hwnas.config_errors import did_you_mean
from hwnas.errors import UserError
from hwnas.front import VALIDATION, Metric
from hwnas.product_config import ProductConfig
from hwnas.recall_names import class_of
from hwnas.sla import TIERS, Clause, Sla, Tier
from hwnas.sla_metrics import SLA_METRICS

Split: TypeAlias = Literal["validation", "test"]
"""Whose samples accuracies, recalls and drops are judged on."""

Verdict: TypeAlias = Literal["pass", "projected", "fail"]
"""``pass``: kept by the pessimistic end of what was measured. ``projected``: it would be, by
what was not measured, is `Metric.partial`, or has no such end."""

_ENOUGH: dict[Tier, tuple[Verdict, ...]] = {
    "critical": ("pass",),
    "high": ("pass", "projected"),
    "medium": ("pass", "projected"),
}
_OF_PRODUCT = {metric.key for metric in SLA_METRICS.values() if metric.needs is not None}
_WHOLE_PATH = ("latency_s", "worst_latency_s", "sustained_latency_s")


@dataclass(frozen=True)
class ClauseResult:
    """What became of one clause.

    Args:
        tier: Of the clause.
        clause: The limit.
        verdict: Of it.
        metric: What was judged, where it is known.
        bound: The end of the metric's interval on the bad side, or its value without one.
        note: Why it is no more than that, where the metric does not say it.
    """

    tier: Tier
    clause: Clause
    verdict: Verdict
    metric: Metric | None
    bound: float | None
    note: str = ""

    @property
    def margin(self) -> float | None:
        """How far the bound stays on the good side of the limit, in the metric's unit."""
        return None if self.bound is None else self.clause.margin(self.bound)

    @property
    def remarks(self) -> list[str]:
        """Its note, and that of the metric."""
        of_metric = self.metric.note if self.metric else None
        return [note for note in (self.note, of_metric) if note]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "tier": self.tier,
            "clause": str(self.clause),
            "metric": self.clause.key,
            "verdict": self.verdict,
            "limit": self.clause.limit,
            "value": self.metric.value if self.metric else None,
            "bound": self.bound,
            "margin": self.margin,
            "provenance": self.metric.provenance if self.metric else None,
            "split": self.metric.split if self.metric else None,
            "flags": self.metric.flags if self.metric else None,
            "note": "; ".join(self.remarks),
        }


@dataclass(frozen=True)
class SlaReport:
    """What became of every clause, in the order of the file, on one split."""

    results: tuple[ClauseResult, ...]
    split: Split

    @property
    def is_met(self) -> bool:
        """Whether every critical clause passes and no high one fails."""
        return self.shortfalls[:2] == (0, 0)

    @property
    def shortfalls(self) -> tuple[int, ...]:
        """How many clauses of each tier, of `TIERS`, are not met as their tier asks."""
        return tuple(
            sum(r.tier == tier and r.verdict not in _ENOUGH[tier] for r in self.results)
            for tier in TIERS
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "is_met": self.is_met,
            "split": self.split,
            "clauses": [r.to_dict() for r in self.results],
        }


def check_sla(sla: Sla, metrics: Mapping[str, Metric], split: Split = "test") -> SlaReport:
    """Judge the metrics of one variant by an SLA.

    Args:
        sla: The limits. Where it names a product, what depends on one is computed anew.
        metrics: By key, as a `Variant` has them.
        split: Whose figures count; those of the other are not looked at.

    Raises:
        UserError: If a clause names a class that neither split has a sample of.
    """
    # one that this split lacks is no mistake of whoever wrote the clause
    classes = _classes(metrics)
    if split == "validation":
        metrics = _on_validation(metrics)
    too_slow = ""
    if sla.product is not None:
        metrics = _in_product(metrics, sla.product)
        too_slow = _too_slow(metrics, sla.product)
    results = [
        _judge(tier, clause, metrics)
        if clause.key in metrics
        else _not_known(tier, clause, classes, split, sla.source)
        for tier, clauses in sla.tiers.items()
        for clause in clauses
    ]
    if too_slow:
        results = [
            replace(r, verdict="fail", note=too_slow) if r.clause.metric.needs else r
            for r in results
        ]
    return SlaReport(tuple(results), split)


def _in_product(metrics: Mapping[str, Metric], product: ProductConfig) -> dict[str, Metric]:
    """Return metrics with the costs of this product alone, none of the experiment's."""
    own = {
        name: metric
        for name, metric in metrics.items()
        if metric.boundary != "system" and name not in _OF_PRODUCT
    }
    return own | system_metrics(metrics, product)


def _too_slow(metrics: Mapping[str, Metric], product: ProductConfig) -> str:
    """Return why a device falls behind the product's inferences; empty where it does not.

    The costs of a product are those of inferences that end before the next begins.
    """
    longest_s = max(metrics[name].upper_bound for name in _WHOLE_PATH if name in metrics)
    if longest_s <= product.interval_s:
        return ""
    return f"an inference takes up to {longest_s:.4g} s, its interval is {product.interval_s:g} s"


def _on_validation(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return metrics with those of the validation split in the place of the test split's."""
    others = {name: metric for name, metric in metrics.items() if metric.split != "test"}
    validation = {
        name.removeprefix(VALIDATION): metric
        for name, metric in metrics.items()
        if name.startswith(VALIDATION)
    }
    return others | validation


def _judge(tier: Tier, clause: Clause, metrics: Mapping[str, Metric]) -> ClauseResult:
    metric = metrics[clause.key]
    end = metric.low if clause.metric.is_minimum else metric.high
    bound = metric.value if end is None else end
    if not clause.holds(bound):
        note = "" if not clause.holds(metric.value) else "the value keeps it, its interval does not"
        return ClauseResult(tier, clause, "fail", metric, bound, note)
    if metric.provenance != "measured":
        return ClauseResult(tier, clause, "projected", metric, bound)
    if metric.partial:
        return ClauseResult(tier, clause, "projected", metric, bound)
    if end is None and not clause.metric.is_exact:
        return ClauseResult(tier, clause, "projected", metric, bound, "without confidence bound")
    return ClauseResult(tier, clause, "pass", metric, bound)


def _not_known(
    tier: Tier, clause: Clause, classes: Sequence[str], split: Split, source: str
) -> ClauseResult:
    if clause.class_name is not None and classes:
        if clause.class_name not in classes:
            raise UserError(
                f"{source}: {tier}: {clause}: no sample of a class of this name."
                f"{did_you_mean(clause.class_name, classes)} Classes: {', '.join(classes)}."
            )
        note = f"no sample of it in the {split} split"
    else:
        needs = clause.metric.needs
        note = f"not known: needs {needs}" if needs else "not known of this variant"
    return ClauseResult(tier, clause, "fail", None, None, note)


def _classes(metrics: Mapping[str, Metric]) -> list[str]:
    """Return names of the classes that either split has samples of."""
    names = (key.removeprefix(VALIDATION) for key in metrics)
    classes = (class_of(name) for name in names)
    return list(dict.fromkeys(name for name in classes if name is not None))
