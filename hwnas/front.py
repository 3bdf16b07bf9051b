"""Members of a front: every metric with its interval, provenance and boundary."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from hwnas.accuracy_comparison import Standing
from hwnas.exit_policy import ExitPolicy
from hwnas.objectives import Constraint, Objective
from hwnas.pareto import ObjectiveScale, is_non_dominated
from search_spaces import Architecture
from targets import Boundary, Provenance

_CSV_PARTS = (
    *("low", "high", "predicted", "provenance", "seeds", "selected", "expected"),
    *("boundary", "voltage_v", "bandwidth_hz", "note"),
)

VALIDATION = "validation_"
"""What metrics of the validation split begin with, where those of the test split have the name
alone: choices are made by the former."""


@dataclass(frozen=True)
class Metric:
    """One number of a candidate, in SI units, and where it comes from.

    Args:
        value: The number.
        provenance: How it was obtained; ``None`` for an exact count.
        low: Lower end of its interval or range, where it has one.
        high: Upper end.
        predicted: What was predicted before it was measured.
        boundary: What an energy includes.
        seeds: Trainings an accuracy is the mean of.
        split: Which samples an accuracy was judged on.
        selected: True where the candidate was chosen by the very training that this number is
            of, which makes it optimistic: of many trainings the lucky ones are chosen.
        expected: What other trainings are expected to come to, by all that the search trained:
            candidates are chosen by it in place of the value.
        flags: Doubts about the measurements behind it, separated by commas.
        voltage_v: Supply voltage, that a current is stated at.
        bandwidth_hz: Of the meter that saw a peak: shorter ones are flattened.
        note: What else belongs beside it, such as what a meter includes; one line.
        partial: True where it is of less than its name says, as the note tells: a limit that it
            keeps is not shown to be kept.
    """

    value: float
    provenance: Provenance | None = None
    low: float | None = None
    high: float | None = None
    predicted: float | None = None
    boundary: Boundary | None = None
    seeds: int | None = None
    split: str | None = None
    selected: bool | None = None
    expected: float | None = None
    flags: str | None = None
    voltage_v: float | None = None
    bandwidth_hz: float | None = None
    note: str | None = None
    partial: bool | None = None

    @property
    def chosen_by(self) -> float:
        """The number that candidates are compared by."""
        return self.value if self.expected is None else self.expected

    @property
    def lower_bound(self) -> float:
        """The lower end of the interval, or the value where it has none."""
        return self.value if self.low is None else self.low

    @property
    def upper_bound(self) -> float:
        """The upper end of the interval, or the value where it has none."""
        return self.value if self.high is None else self.high

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form without the fields that do not apply."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Deployment:
    """Which trained network of a candidate is deployed, and its exit policy.

    Args:
        checkpoint: File name in the run's ``checkpoints`` folder.
        seed: It was trained with.
        policy: When it answers early.
        exit_shares: Share of validation samples that leaves at each exit.
        max_accuracy_drop: What the policy was allowed to cost of the last exit's validation
            accuracy: how to choose one anew, of other weights or another arithmetic.
    """

    checkpoint: str
    seed: int
    policy: ExitPolicy
    exit_shares: tuple[float, ...]
    max_accuracy_drop: float

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Deployment:
        """Rebuild a deployment from ``asdict``."""
        return cls(
            str(data["checkpoint"]),
            int(data["seed"]),
            ExitPolicy.from_dict(data["policy"]),
            tuple(data["exit_shares"]),
            float(data["max_accuracy_drop"]),
        )


@dataclass(frozen=True)
class Candidate:
    """An architecture with its metrics, measured on the target.

    Args:
        number: Trial that proposed it.
        architecture: What it is.
        metrics: By name, such as ``latency_s``.
        deployment: The trained network behind the metrics.
        feasible: Whether the pessimistic ends of what was measured meet every limit.
        on_front: Whether no other feasible candidate dominates it, see `ParetoFront.of`.
        standing: Whom it is more accurate than and tied with, on the test split.
    """

    number: int
    architecture: Architecture
    metrics: Mapping[str, Metric]
    deployment: Deployment
    feasible: bool = True
    on_front: bool = False
    standing: Standing = field(default_factory=Standing)

    def values(self, objectives: Sequence[Objective]) -> list[float]:
        """Return the objectives' values in their order."""
        return [self.metrics[o.metric].chosen_by for o in objectives]

    def is_confirmed(self, objectives: Sequence[Objective]) -> bool:
        """Return whether no objective's value is one that the candidate was chosen by."""
        return not any(self.metrics[o.metric].selected for o in objectives)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "arch_id": self.architecture.arch_id,
            "number": self.number,
            "architecture": self.architecture.to_dict(),
            "feasible": self.feasible,
            "on_front": self.on_front,
            "deployment": asdict(self.deployment),
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
            **self.standing.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Candidate:
        """Rebuild a candidate from `to_dict`."""
        return cls(
            number=int(data["number"]),
            architecture=Architecture.from_dict(data["architecture"]),
            metrics={name: Metric(**metric) for name, metric in data["metrics"].items()},
            deployment=Deployment.from_dict(data["deployment"]),
            feasible=bool(data["feasible"]),
            on_front=bool(data["on_front"]),
            standing=Standing.from_dict(data),
        )


@dataclass(frozen=True)
class ParetoFront:
    """Feasible, mutually non-dominated candidates, and those they beat.

    Args:
        objectives: What was optimized.
        scale: Between which values hypervolume is counted.
        candidates: All measured ones, front members first.
    """

    objectives: tuple[Objective, ...]
    scale: ObjectiveScale
    candidates: tuple[Candidate, ...] = field(default=())

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        scale: ObjectiveScale,
    ) -> ParetoFront:
        """Judge measured candidates: feasible by pessimistic ends, on the front or dominated.

        Values that chose a candidate are optimistic, and others are not. So candidates whose
        values were confirmed are dominated by one another alone; those whose were not, by
        any. Whoever compares within a kind compares numbers of one standing.
        """
        feasible = [all(meets(c.metrics, limit) for limit in constraints) for c in candidates]
        inside = [c for c, meets in zip(candidates, feasible, strict=True) if meets]
        best = {c.architecture.arch_id for c in _non_dominated(inside, objectives, scale)}
        marked = [
            replace(c, feasible=meets, on_front=meets and c.architecture.arch_id in best)
            for c, meets in zip(candidates, feasible, strict=True)
        ]
        marked.sort(key=lambda c: (not c.on_front, not c.feasible, c.values(objectives)[-1]))
        return cls(tuple(objectives), scale, tuple(marked))

    @property
    def members(self) -> tuple[Candidate, ...]:
        """The candidates on the front."""
        return tuple(c for c in self.candidates if c.on_front)

    def losses(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the scaled losses of the members, shape ``(n, m)``."""
        values = np.array([c.values(self.objectives) for c in self.members])
        return self.scale.losses(values.reshape(len(self.members), len(self.objectives)))

    def hypervolume(self) -> float:
        """Return the share of the objective box that the members dominate."""
        values = np.array([c.values(self.objectives) for c in self.members])
        return self.scale.hypervolume(values)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready part of ``front.json`` that describes the front."""
        return {
            "objectives": [
                {"name": o.name, "metric": o.metric, "unit": o.unit, "direction": o.direction}
                for o in self.objectives
            ],
            "hypervolume": {
                "value": self.hypervolume(),
                "ideal": list(self.scale.ideal),
                "reference": list(self.scale.reference),
            },
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }


def _non_dominated(
    candidates: Sequence[Candidate], objectives: Sequence[Objective], scale: ObjectiveScale
) -> list[Candidate]:
    if not candidates:
        return []
    losses = scale.losses(np.array([c.values(objectives) for c in candidates]))
    confirmed = np.array([c.is_confirmed(objectives) for c in candidates])
    keep = is_non_dominated(losses)
    keep[confirmed] = is_non_dominated(losses[confirmed])
    return [c for c, kept in zip(candidates, keep, strict=True) if kept]


def meets(metrics: Mapping[str, Metric], constraint: Constraint) -> bool:
    """Return whether the pessimistic end of a metric is within a limit."""
    metric = metrics[constraint.metric]
    return (
        constraint.violation(constraint.pessimistic(metric.chosen_by, metric.low, metric.high)) <= 0
    )


def to_csv(candidates: Sequence[Candidate]) -> str:
    """Return one row per candidate: choices, then value, interval and provenance of metrics."""
    rows = []
    for candidate in candidates:
        row: dict[str, Any] = {
            "arch_id": candidate.architecture.arch_id,
            "on_front": candidate.on_front,
            "feasible": candidate.feasible,
            "better_than": " ".join(c.arch_id for c in candidate.standing.better_than),
            "ties_with": " ".join(c.arch_id for c in candidate.standing.ties_with),
        }
        for name, metric in candidate.metrics.items():
            row[name] = metric.value
            for part in _CSV_PARTS:
                if getattr(metric, part) is not None:
                    row[f"{name}.{part}"] = getattr(metric, part)
        row |= {f"choice.{name}": value for name, value in candidate.architecture.choices}
        rows.append(row)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
