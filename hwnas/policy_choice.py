"""Choose the scaling policy that a bundle gets: none where changing the network saves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwnas.config_errors import did_you_mean
from hwnas.errors import UserError
from hwnas.front import VALIDATION
from hwnas.product_config import ProductConfig
from hwnas.product_costs import product_costs
from hwnas.recall_names import recall_name
from hwnas.runtime.policy import (
    MAX_ACTIVE_INTERVAL_S,
    MAX_MISTAKEN,
    Background,
    ScalingPolicy,
    default_policy,
)
from hwnas.variants import Variant

WORTHWHILE = 0.05
"""Share of a product's energy that the cheapest operating point must save to be worth a policy:
less than what batteries of one kind differ by."""


@dataclass(frozen=True)
class PolicyChoice:
    """The scaling policy of a bundle.

    Args:
        policy: When to use which operating point; ``None`` where it stays at its first one.
        note: Why, in one line.
    """

    policy: ScalingPolicy | None
    note: str


def choose_policy(
    points: Mapping[str, Variant],
    product: ProductConfig | None,
    quiet_class: str | None,
    class_names: Sequence[str],
) -> PolicyChoice:
    """Return the scaling policy of a bundle.

    Args:
        points: Operating points by name, the most accurate first.
        product: What surrounds the network, where that is known.
        quiet_class: Answers of this class are background, if any is.
        class_names: Of the data set.

    Raises:
        UserError: If there is no such class, or what its rule needs is missing.
    """
    if quiet_class is not None:
        _check_quiet_class(quiet_class, points, product, class_names)
    if len(points) == 1:
        return PolicyChoice(None, "none: there is one operating point")
    first, *_, last = points
    saved = None
    if product is not None:
        saved = 1 - _power_w(product, points[last]) / _power_w(product, points[first])
    if saved is not None and saved < WORTHWHILE:
        return PolicyChoice(
            None,
            f"none: at {last} the product takes {saved:.1%} less energy than at {first}, modelled. "
            f"It stays at {first}",
        )
    saving = "" if saved is None else f": at {last} the product takes {saved:.0%} less, modelled"
    policy = default_policy(list(points))
    if quiet_class is None or product is None:
        return PolicyChoice(policy, f"by temperature, supply and battery{saving}")
    # the rule has to hold for other samples, too
    recalls = (points[name].metrics[_recall(quiet_class)] for name in (first, last))
    mistaken = 1 - min(recall.lower_bound for recall in recalls)
    if mistaken > MAX_MISTAKEN:
        return PolicyChoice(
            policy,
            f"by temperature, supply and battery{saving}; not by answers, as up to {mistaken:.0%} "
            f"of the {quiet_class!r} are answered otherwise (95 %)",
        )
    background = Background(quiet_class, product.interval_s, mistaken)
    return PolicyChoice(
        default_policy(list(points), background),
        f"by temperature, supply, battery, and answers other than {quiet_class!r}{saving}",
    )


def _recall(quiet_class: str) -> str:
    # choices are made by the validation split
    return f"{VALIDATION}{recall_name(quiet_class)}"


def _check_quiet_class(
    name: str,
    points: Mapping[str, Variant],
    product: ProductConfig | None,
    class_names: Sequence[str],
) -> None:
    if name not in class_names:
        raise UserError(
            f"--quiet-class {name}: no class of this name.{did_you_mean(name, class_names)} "
            f"Classes: {', '.join(class_names)}."
        )
    if len(points) == 1:
        raise UserError(
            "--quiet-class: there is one operating point, and so nothing to change between."
        )
    if product is None:
        raise UserError(
            "--quiet-class: wanted the product's interval_s, to know how often it infers. "
            "Describe the product with --product FILE."
        )
    if product.interval_s > MAX_ACTIVE_INTERVAL_S:
        raise UserError(
            f"--quiet-class: wanted a product that infers every {MAX_ACTIVE_INTERVAL_S:g} s at "
            f"least, as activity is that of the last 15 s or so. Got {product.interval_s:g} s."
        )
    if any(_recall(name) not in point.metrics for point in points.values()):
        raise UserError(
            f"--quiet-class {name}: the validation split has no sample of it, so that nobody knows "
            "how often it is answered otherwise. Add some, and search again."
        )


def _power_w(product: ProductConfig, variant: Variant) -> float:
    energy, latency = variant.metrics["energy_j"], variant.metrics["latency_s"]
    return float(product_costs(product, energy.value, latency.value)["average_power_w"])
