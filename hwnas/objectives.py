"""What a search optimizes and what it must respect, each with unit and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hwnas.config import ConstraintsConfig, ObjectiveName

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Objective:
    """A quantity to optimize.

    Args:
        name: As in the experiment file.
        metric: Key in a candidate's metrics, with its SI unit.
        unit: SI unit; ``1`` for a fraction.
        direction: Whether more or less of it is better.
    """

    name: ObjectiveName
    metric: str
    unit: str
    direction: Direction


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("accuracy", "validation_accuracy", "1", "maximize"),
        Objective("latency", "latency_s", "s", "minimize"),
        Objective("energy", "energy_j", "J", "minimize"),
        Objective("flash", "flash_bytes", "B", "minimize"),
        Objective("peak_ram", "peak_ram_bytes", "B", "minimize"),
    )
}


@dataclass(frozen=True)
class Constraint:
    """A hard limit: an upper one, judged on the upper end of a metric's interval.

    ``min_accuracy`` is the one lower limit, judged on the value itself once trained.

    Args:
        name: As in the experiment file, with its printing unit.
        metric: Key in a candidate's metrics.
        bound: Limit in SI units.
        shown_unit: Unit of ``name``.
        shown_per_si: Multiply an SI value by this to print it in ``shown_unit``.
        is_minimum: Whether the limit is a lower one.
    """

    name: str
    metric: str
    bound: float
    shown_unit: str
    shown_per_si: float
    is_minimum: bool = False

    @property
    def is_known_before_training(self) -> bool:
        """Whether it can be judged from predicted costs."""
        return self.metric != "validation_accuracy"

    def violation(self, value: float) -> float:
        """Return ``value / bound - 1``, negated for a lower limit; at most 0 where it is met."""
        excess = value / self.bound - 1
        return -excess if self.is_minimum else excess

    def shown(self, value: float) -> str:
        """Return an SI value in the constraint's printing unit."""
        return f"{value * self.shown_per_si:.4g} {self.shown_unit}"


# name: metric, printing unit, printing units per SI unit
_LIMITS: dict[str, tuple[str, str, float]] = {
    "min_accuracy": ("validation_accuracy", "", 1.0),
    "max_latency_ms": ("worst_latency_s", "ms", 1e3),
    "max_energy_mj": ("worst_energy_j", "mJ", 1e3),
    "max_flash_kib": ("flash_bytes", "KiB", 1 / 1024),
    "max_peak_ram_kib": ("peak_ram_bytes", "KiB", 1 / 1024),
}


def constraints_of(config: ConstraintsConfig) -> tuple[Constraint, ...]:
    """Return the limits that an experiment sets, in SI units."""
    limits = []
    for name, (metric, unit, shown_per_si) in _LIMITS.items():
        value = getattr(config, name)
        if value is not None:
            bound = value / shown_per_si
            is_minimum = name.startswith("min_")
            limits.append(Constraint(name, metric, bound, unit, shown_per_si, is_minimum))
    return tuple(limits)


def objectives_of(names: Sequence[ObjectiveName]) -> tuple[Objective, ...]:
    """Return the objectives of an experiment in its order."""
    return tuple(OBJECTIVES[name] for name in names)
