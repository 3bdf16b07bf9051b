"""The scaling policy: which operating point to use when, as a file of the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hwnas.config_errors import did_you_mean
from hwnas.config_file import read_document, validated
from hwnas.errors import UserError
from hwnas.runtime.policy_check import reachable_modes, unreachable_rule
from hwnas.runtime.signals import (
    ACTIVITY_TIME_CONSTANT_S,
    SIGNAL_RANGES,
    SMOOTHED,
    Signals,
    busiest_rate_per_min,
)
from hwnas.runtime.trigger import Trigger

MAX_ACTIVE_INTERVAL_S = 4 * ACTIVITY_TIME_CONSTANT_S
"""Of an answer that is so old, 2 % of the activity are left: of less, no rule can tell."""

MAX_MISTAKEN = 0.3
"""Share of the background taken for events, beyond which mistakes often look like activity."""

_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Threshold(_Section):
    """Begins above or below one value, and ends where ``until`` is reached."""

    above: _Number | None = None
    below: _Number | None = None
    until: _Number

    @model_validator(mode="after")
    def _in_order(self) -> Threshold:
        if (self.above is None) == (self.below is None):
            raise ValueError("wanted one of 'above' and 'below'.")
        if self.above is not None and self.until > self.above:
            raise ValueError(
                f"hysteresis inverted: above {self.above:g} wants 'until' of at most that. "
                f"Got {self.until:g}."
            )
        if self.below is not None and self.until < self.below:
            raise ValueError(
                f"hysteresis inverted: below {self.below:g} wants 'until' of at least that. "
                f"Got {self.until:g}."
            )
        return self

    @property
    def enter(self) -> float:
        """Where it begins."""
        return self.below if self.above is None else self.above  # type: ignore[return-value]


class Conditions(_Section):
    """All must hold; one on a signal that the device does not know never does."""

    battery_level: Threshold | None = None
    charging: bool | None = None
    temperature_c: Threshold | None = None
    activity_per_min: Threshold | None = None
    confidence: Threshold | None = None

    @model_validator(mode="after")
    def _can_hold(self) -> Conditions:
        if not self.triggers:
            raise ValueError(f"wanted a condition on one of {', '.join(SIGNAL_RANGES)}.")
        for trigger in self.triggers:
            name = Signals._fields[trigger.signal]
            low, high = SIGNAL_RANGES[name]
            side = "above" if trigger.rising else "below"
            begins = trigger.enter < high if trigger.rising else trigger.enter > low
            room = trigger.leave - low if trigger.rising else high - trigger.leave
            ends = room > 0 or (room == 0 and name not in SMOOTHED)
            if not begins:
                raise ValueError(
                    f"{name}: {side} {trigger.enter:g} never holds, as it goes from "
                    f"{low:g} to {high:g}."
                )
            if not ends:
                only = ", which it only comes near to" if room == 0 else ""
                raise ValueError(
                    f"{name}: {side} {trigger.enter:g} can never be left: until "
                    f"{trigger.leave:g}, but it goes from {low:g} to {high:g}{only}."
                )
        return self

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """The conditions, as they are judged."""
        found = []
        for index, name in enumerate(Signals._fields):
            condition = getattr(self, name)
            if isinstance(condition, Threshold):
                rising = condition.above is not None
                found.append(Trigger(index, rising, condition.enter, condition.until))
            elif condition is not None:
                found.append(Trigger(index, condition, 0.5, 0.5))
        return tuple(found)


class Rule(_Section):
    """Where the conditions hold, use an operating point."""

    mode: str
    when: Conditions


class ScalingPolicy(_Section):
    """The first rule whose conditions hold decides; the default, where none does.

    Args:
        default: Operating point where no rule holds.
        min_dwell_s: A mode is kept at least so long.
        rules: By priority.
        energy_budget_j_per_hour: What may be spent in the long run; dearer modes are
            withheld where it is overspent, whatever the rules say.
        quiet_class: Answers of this class are background, which is no activity.
    """

    schema_version: Literal[1] = 1
    default: str
    min_dwell_s: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    rules: Annotated[tuple[Rule, ...], Field(max_length=16)] = ()
    energy_budget_j_per_hour: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    quiet_class: str | None = None

    @model_validator(mode="after")
    def _every_rule_counts(self) -> ScalingPolicy:
        index = unreachable_rule([rule.when.triggers for rule in self.rules])
        if index is not None:
            raise ValueError(
                f"rules.{index}: never decides: an earlier rule holds whenever it does. "
                "Move it up, or remove it."
            )
        return self

    @property
    def modes(self) -> frozenset[str]:
        """Operating points that it names."""
        return frozenset({self.default, *(rule.mode for rule in self.rules)})

    def to_yaml(self) -> str:
        """Return the content of its file."""
        document = self.model_dump(mode="json", exclude_none=True)
        return yaml.safe_dump(document, sort_keys=False)


def load_policy(
    path: Path, energies_j: Mapping[str, float], class_names: Sequence[str]
) -> ScalingPolicy:
    """Read a policy and check it against the bundle that it is to rule.

    Args:
        path: YAML file.
        energies_j: Energy of one inference at each operating point of the bundle, joules.
        class_names: Of the bundle.

    Raises:
        UserError: One line, for the first thing that is wrong: a mode or class that the
            bundle does not have, or a policy that can never leave a mode.
    """
    policy = validated(read_document(path), str(path), ScalingPolicy)
    named = [("default", policy.default)]
    named += [(f"rules.{k}.mode", rule.mode) for k, rule in enumerate(policy.rules)]
    for where, mode in named:
        if mode not in energies_j:
            _refuse_name(path, where, mode, list(energies_j))
    if policy.quiet_class is not None and policy.quiet_class not in class_names:
        _refuse_name(path, "quiet_class", policy.quiet_class, class_names)
    _refuse_stuck(path, policy, energies_j)
    return policy


def _refuse_name(path: Path, where: str, name: str, known: Sequence[str]) -> None:
    suggestion = did_you_mean(name, known)
    raise UserError(
        f"{path}: {where}: unknown {name!r}.{suggestion} The bundle has: {', '.join(known)}."
    )


def _refuse_stuck(path: Path, policy: ScalingPolicy, energies_j: Mapping[str, float]) -> None:
    reachable = reachable_modes(
        [rule.when.triggers for rule in policy.rules],
        [rule.mode for rule in policy.rules],
        policy.default,
    )
    if len(energies_j) == 1 or len(reachable) > 1:
        return
    (mode,) = reachable
    cheapest = energies_j[mode] == min(energies_j.values())
    if policy.energy_budget_j_per_hour is None or cheapest:
        raise UserError(
            f"{path}: rules: can never leave mode {mode!r}: no signals lead to another. Add a "
            f"rule for one of: {', '.join(name for name in energies_j if name != mode)}."
        )


@dataclass(frozen=True)
class Background:
    """Answers that tell of no event.

    Args:
        quiet_class: The class that they name.
        interval_s: From one inference to the next, up to `MAX_ACTIVE_INTERVAL_S`.
        mistaken: Share of the background that is answered with another class.

    Raises:
        ValueError: If a rule on activity could tell nothing.
    """

    quiet_class: str
    interval_s: float
    mistaken: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.interval_s <= MAX_ACTIVE_INTERVAL_S:
            raise ValueError(
                f"interval_s: wanted up to {MAX_ACTIVE_INTERVAL_S:g}. Got {self.interval_s}."
            )
        if not 0 <= self.mistaken <= MAX_MISTAKEN:
            raise ValueError(f"mistaken: wanted up to {MAX_MISTAKEN:g}. Got {self.mistaken}.")

    @property
    def active(self) -> Threshold:
        """When there is more than background.

        Between what mistakes bring while there is nothing else and what an event in every answer
        brings, activity begins at a quarter of the way and ends at half of that.
        """
        busiest = busiest_rate_per_min(self.interval_s)
        begins, ends = (
            busiest * (self.mistaken + (1 - self.mistaken) * part) for part in (1 / 4, 1 / 8)
        )
        # two digits are enough, and readable
        return Threshold(above=float(f"{begins:.2g}"), until=float(f"{ends:.2g}"))


def default_policy(points: Sequence[str], background: Background | None = None) -> ScalingPolicy:
    """Return the policy that a bundle gets when it is exported.

    Cheapest when hot or on a low battery, dearest while charging. Else, where one class is known
    to be background, dearest while there is anything but that and cheapest while there is not.
    Where none is, the point in between, or the dearest where there are two. Confidence is left to
    who knows the product: what is doubtful is not the same in any two.

    Args:
        points: Operating points from the dearest to the cheapest.
        background: What tells of no event.

    Raises:
        ValueError: If there is no point.
    """
    if not points:
        raise ValueError("points: wanted at least one operating point.")
    high, low = points[0], points[-1]
    if len(points) == 1:
        return ScalingPolicy(default=high)
    rules = (
        Rule(mode=low, when=Conditions(temperature_c=Threshold(above=70, until=60))),
        Rule(mode=high, when=Conditions(charging=True)),
        Rule(mode=low, when=Conditions(battery_level=Threshold(below=0.2, until=0.25))),
    )
    if background is None:
        return ScalingPolicy(default=points[(len(points) - 1) // 2], rules=rules)
    busy = Rule(mode=high, when=Conditions(activity_per_min=background.active))
    return ScalingPolicy(default=low, quiet_class=background.quiet_class, rules=(*rules, busy))
