"""Keep to an energy budget: a token bucket whose level says how dear a mode may be."""

from __future__ import annotations

HOUR_S = 3600.0
BUCKET_S = 600.0
"""What may be saved for later is the budget of so long."""


class EnergyBudget:
    """A bucket that fills at the budget's rate and that every answer is taken from.

    The level integrates budget less consumption, and the dearest mode allowed falls with
    it in equal steps: full allows all modes, empty only the cheapest. So consumption comes
    to the budget without lasting error wherever the modes lie on both sides of it, and
    within a time ``t`` never exceeds ``B t`` plus the bucket, save for what the cheapest mode
    takes, and one inference, or what is inferred in one dwell time. No debt is ever
    forgotten: either may cost the budget of many hours, which are saved afterwards.

    Args:
        joules_per_hour: The budget ``B``.
        start_s: Time now, seconds of a clock that never goes back; the bucket is full.

    References:
        Turner (1986), New directions in communications, IEEE Communications Magazine
        24(10), 8-15 (leaky bucket). doi:10.1109/MCOM.1986.1092946
    """

    def __init__(self, joules_per_hour: float, start_s: float = 0.0) -> None:
        self._power_w = joules_per_hour / HOUR_S
        self._capacity_j = self._power_w * BUCKET_S
        self._level_j = self._capacity_j
        self._at_s = start_s

    @property
    def level(self) -> float:
        """How full the bucket is: 1 when full, below 0 in debt."""
        return self._level_j / self._capacity_j

    def spend(self, energy_j: float) -> None:
        """Take energy out, joules."""
        self._level_j -= energy_j

    def dearest_allowed(self, now_s: float, n_modes: int) -> int:
        """Return the index of the dearest mode allowed, 0 being the dearest of all.

        Args:
            now_s: Seconds of the clock.
            n_modes: How many there are.
        """
        if now_s > self._at_s:
            filled_j = self._level_j + (now_s - self._at_s) * self._power_w
            self._level_j = min(filled_j, self._capacity_j)
            self._at_s = now_s
        return min(n_modes - 1, max(0, int((1 - self.level) * n_modes)))
