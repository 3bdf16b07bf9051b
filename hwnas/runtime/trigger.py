"""A condition with hysteresis: it begins at one threshold and ends at another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trigger:
    """A Schmitt trigger on one signal.

    Args:
        signal: Index of the signal in `hwnas.runtime.signals.Signals`.
        rising: Whether it begins above its threshold, or below.
        enter: Threshold where it begins.
        leave: Threshold where it ends, the other way.
    """

    signal: int
    rising: bool
    enter: float
    leave: float

    def next(self, held: bool, value: float | None) -> bool:
        """Return whether it holds now; never where the signal is unknown.

        Args:
            held: Whether it did before.
            value: Of the signal.
        """
        if value is None:
            return False
        threshold = self.leave if held else self.enter
        return value > threshold if self.rising else value < threshold
