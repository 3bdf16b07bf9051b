"""The governor: which operating point to use now, by a scaling policy and an energy budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hwnas.runtime.energy_budget import EnergyBudget
from hwnas.runtime.policy import ScalingPolicy
from hwnas.runtime.signals import Signals

Meter: TypeAlias = Callable[[], float]
"""Returns the joules that a device has taken since some moment in the past; NaN where it cannot
be read now."""

Reason: TypeAlias = Literal["rule", "default", "energy_budget"]


@dataclass(frozen=True, slots=True)
class ModeChange:
    """A change from one operating point to another.

    Args:
        time_s: When, seconds of the governor's clock.
        before: Operating point left.
        after: Operating point from now on.
        reason: What asked for it.
        rule: Index of the rule, where it was one.
        signals: That it was decided by.
    """

    time_s: float
    before: str
    after: str
    reason: Reason
    rule: int | None
    signals: Signals


class Governor:
    """Decides the operating point, each time in a few microseconds.

    The first rule that holds decides; where the energy budget does not allow a mode so dear,
    the dearest that it allows is used. Conditions follow their signals at every decision, but
    a mode is kept for the policy's dwell time.

    Args:
        policy: Whose modes are all in ``energies_j``.
        energies_j: Energy of one inference at each operating point, joules.
        start_s: Time now, seconds of a clock that never goes back.
        meter: Of the device; energies are those told to `spend` where there is none.
    """

    def __init__(
        self,
        policy: ScalingPolicy,
        energies_j: Mapping[str, float],
        *,
        start_s: float = 0.0,
        meter: Meter | None = None,
    ) -> None:
        self._policy = policy
        self._rules = [(rule.mode, rule.when.triggers) for rule in policy.rules]
        self._held = [[False] * len(triggers) for _, triggers in self._rules]
        self._by_energy = sorted(energies_j, key=lambda name: -energies_j[name])
        self._rank = {name: rank for rank, name in enumerate(self._by_energy)}
        self._mode = policy.default
        # the first decision may be for another mode than the default, at once
        self._changed_s = start_s - policy.min_dwell_s
        self._meter = meter
        start_j = meter() if meter else 0.0
        self._metered_j = start_j if math.isfinite(start_j) else math.inf
        hourly_j = policy.energy_budget_j_per_hour
        self._budget = None if hourly_j is None else EnergyBudget(hourly_j, start_s)

    @property
    def mode(self) -> str:
        """The operating point in use."""
        return self._mode

    @property
    def budget_level(self) -> float | None:
        """How full the energy budget's bucket is, from 1 to below 0; ``None`` without one."""
        return None if self._budget is None else self._budget.level

    def spend(self, energy_j: float) -> None:
        """Count an answer's energy against the budget, where no meter does.

        Args:
            energy_j: Estimated, joules.
        """
        if self._budget is not None and self._meter is None:
            self._budget.spend(energy_j)

    def decide(self, now_s: float, signals: Signals) -> ModeChange | None:
        """Choose the operating point for now; it is `mode` afterwards.

        Args:
            now_s: Seconds of the clock.
            signals: As they are now.

        Returns:
            The change, or ``None`` where the mode stays.
        """
        wanted, rule = self._wanted(signals)
        reason: Reason = "default" if rule is None else "rule"
        allowed = self._allowed(now_s)
        if self._rank[wanted] < allowed:
            wanted, rule, reason = self._by_energy[allowed], None, "energy_budget"
        if wanted == self._mode or now_s - self._changed_s < self._policy.min_dwell_s:
            return None
        change = ModeChange(now_s, self._mode, wanted, reason, rule, signals)
        self._mode, self._changed_s = wanted, now_s
        return change

    def _wanted(self, signals: Signals) -> tuple[str, int | None]:
        """Follow every condition, and return the mode and index of the first rule that holds."""
        found: tuple[str, int | None] = (self._policy.default, None)
        # the last first, so that the first that holds is left over
        for index in range(len(self._rules) - 1, -1, -1):
            mode, triggers = self._rules[index]
            held = self._held[index]
            for k, trigger in enumerate(triggers):
                held[k] = trigger.next(held[k], signals[trigger.signal])
            if all(held):
                found = (mode, index)
        return found

    def _allowed(self, now_s: float) -> int:
        if self._budget is None:
            return 0
        if self._meter is not None:
            self._count(self._budget, self._meter())
        return self._budget.dearest_allowed(now_s, len(self._by_energy))

    def _count(self, budget: EnergyBudget, metered_j: float) -> None:
        # a failed reading says nothing, and is made up for by the next
        if not math.isfinite(metered_j):
            return
        # a meter that started anew gives nothing back
        budget.spend(max(0.0, metered_j - self._metered_j))
        self._metered_j = metered_j
