"""What a search optimizes and what it must respect, each with unit and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwnas.energy_metrics import Number

if TYPE_CHECKING:
    from hwnas.config import ConstraintsConfig, ExperimentConfig, ObjectiveName
    from hwnas.product_config import ProductConfig

Direction = Literal["minimize", "maximize"]

_ACCURACY = "validation_accuracy"


@dataclass(frozen=True)
class Objective:
    """A quantity to optimize.

    Args:
        name: As in the experiment file.
        metric: Key in a candidate's metrics, with its SI unit.
        unit: SI unit; ``1`` for a fraction.
        direction: Whether more or less of it is better.
        needs: Section of the experiment file without which it cannot be computed.
    """

    name: ObjectiveName
    metric: str
    unit: str
    direction: Direction
    needs: str | None = None


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("accuracy", _ACCURACY, "1", "maximize"),
        Objective("latency", "latency_s", "s", "minimize"),
        Objective("energy", "energy_j", "J", "minimize"),
        Objective("flash", "flash_bytes", "B", "minimize"),
        Objective("peak_ram", "peak_ram_bytes", "B", "minimize"),
        Objective("inferences_per_joule", "inferences_per_joule", "1/J", "maximize"),
        Objective("average_power", "average_power_w", "W", "minimize", "product"),
        Objective("battery_days", "battery_days", "d", "maximize", "product.battery"),
    )
}


@dataclass(frozen=True)
class Constraint:
    """A hard limit, judged on the pessimistic end of a metric's interval.

    ``min_accuracy`` alone is judged on the value itself, once trained.

    Args:
        name: As in the experiment file, with its printing unit.
        metric: Key in a candidate's metrics.
        bound: Limit in SI units.
        shown_unit: Unit of ``name``.
        shown_per_si: Multiply an SI value by this to print it in ``shown_unit``.
        is_minimum: Whether the limit is a lower one.
        of_mean: Whether the metric is a mean over the exits, so that before training
            it can only be bounded, as if every sample left at the first exit.
        section: Of the experiment file, that holds ``name``.
    """

    name: str
    metric: str
    bound: float
    shown_unit: str
    shown_per_si: float
    is_minimum: bool = False
    of_mean: bool = False
    section: str = "constraints"

    @property
    def is_on_costs(self) -> bool:
        """Whether predicted costs say anything of it."""
        return self.metric != _ACCURACY

    @property
    def is_known_before_training(self) -> bool:
        """Whether predicted costs settle it."""
        return self.is_on_costs and not self.of_mean

    def pessimistic(self, value: Number, low: Number | None, high: Number | None) -> Number:
        """Return which of a metric's value and ends this limit judges."""
        end = low if self.is_minimum else high
        return value if end is None or not self.is_on_costs else end

    def violation(self, value: Number) -> Number:
        """Return ``value / bound - 1``, negated for a lower limit; at most 0 where it is met."""
        excess = value / self.bound - 1
        return -excess if self.is_minimum else excess

    def value_at(self, violation: float) -> float:
        """Return the value whose `violation` it is."""
        return self.bound * (1 - violation if self.is_minimum else 1 + violation)

    def shown(self, value: float) -> str:
        """Return an SI value in the constraint's printing unit."""
        return f"{value * self.shown_per_si:.4g} {self.shown_unit}".rstrip()


@dataclass(frozen=True)
class _Limit:
    metric: str
    shown_unit: str = ""
    shown_per_si: float = 1.0
    of_mean: bool = False
    needs: str | None = None


_LIMITS: dict[str, _Limit] = {
    "min_accuracy": _Limit(_ACCURACY),
    "max_latency_ms": _Limit("worst_latency_s", "ms", 1e3),
    "max_latency_p99_ms": _Limit("worst_latency_p99_s", "ms", 1e3),
    "max_energy_mj": _Limit("worst_energy_j", "mJ", 1e3),
    "max_flash_kib": _Limit("flash_bytes", "KiB", 1 / 1024),
    "max_peak_ram_kib": _Limit("peak_ram_bytes", "KiB", 1 / 1024),
    "min_inferences_per_joule": _Limit("inferences_per_joule", "1/J", of_mean=True),
    "max_average_power_mw": _Limit("average_power_w", "mW", 1e3, True, "product"),
    "min_battery_days": _Limit("battery_days", "d", 1.0, True, "product.battery"),
    "max_co2e_g_per_million": _Limit("co2e_g_per_million", "g", 1.0, True, "product.country"),
    "max_cost_per_million": _Limit("cost_per_million", "", 1.0, True, "product.price_per_kwh"),
}


def constraints_of(
    config: ConstraintsConfig, product: ProductConfig | None = None
) -> tuple[Constraint, ...]:
    """Return the limits that an experiment sets, in SI units.

    A product sets one more: an inference, through every exit and on a warm device,
    must end before the next begins.
    """
    limits = []
    for name, limit in _LIMITS.items():
        value = getattr(config, name)
        if value is not None:
            limits.append(
                Constraint(
                    name,
                    limit.metric,
                    value / limit.shown_per_si,
                    limit.shown_unit,
                    limit.shown_per_si,
                    is_minimum=name.startswith("min_"),
                    of_mean=limit.of_mean,
                )
            )
    if product is not None:
        bound = product.interval_s
        limits.append(
            Constraint("interval_s", "sustained_latency_s", bound, "s", 1.0, section="product")
        )
    return tuple(limits)


def in_file_unit(name: str, bound: float) -> float:
    """Return an SI bound in the unit of the entry of ``constraints`` that limits it.

    Args:
        name: Of the entry, such as ``max_latency_ms``.
        bound: In SI units.
    """
    return bound * _LIMITS[name].shown_per_si


def objectives_of(names: Sequence[ObjectiveName]) -> tuple[Objective, ...]:
    """Return the objectives of an experiment in its order."""
    return tuple(OBJECTIVES[name] for name in names)


def unmet_need(config: ExperimentConfig) -> str | None:
    """Return which objective or limit lacks a section of the file, in one line, if one does."""
    wanted = [(f"objectives: {name}", OBJECTIVES[name].needs) for name in config.objectives]
    wanted += [
        (f"constraints.{name}", limit.needs)
        for name, limit in _LIMITS.items()
        if getattr(config.constraints, name) is not None
    ]
    for key, need in wanted:
        if need is not None and not _holds(config, need):
            return f"{key}: needs {need}, which is missing. See docs/energy-metrics.md."
    return None


def _holds(config: ExperimentConfig, path: str) -> bool:
    node: object = config
    for part in path.split("."):
        node = getattr(node, part, None)
    return node is not None
