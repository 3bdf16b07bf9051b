"""What a meter recorded around one loop of inferences, and the powers it tells."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from targets.meters import MeterError, MeterInfo

_ALIGNMENT_STEPS = 2001
_LEAST_CONTRAST = 4.0
"""Edges count as seen where the step exceeds the scatter of its estimate by this factor."""

_ERROR_BLOCKS = 20
_MARK_SLACK_S = 0.1
_DROPPED = 0.05
"""A meter that loses a larger part of its samples than this cannot be believed."""


@dataclass(frozen=True)
class Span:
    """From one moment to another, by the caller's clock."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Its length."""
        return self.end_s - self.start_s

    def inside(self, guard_s: float) -> Span:
        """Return it without a guard at either end."""
        return Span(self.start_s + guard_s, self.end_s - guard_s)


@dataclass(frozen=True)
class PowerTrace:
    """Power over time, as one meter saw it.

    A counter's readings are taken as what they are: mean powers between one and the next.

    Args:
        info: Of the meter.
        start_s: Shape ``(n,)``: where the time begins that a value stands for.
        end_s: Shape ``(n,)``: where it ends; for a power at an instant, the same.
        power_w: Shape ``(n,)``.
        peak_w: Shape ``(n,)``: largest power of what was averaged.
        marks: When a logic input changed; empty where none is recorded or nothing marks.
        n_dropped: Samples lost.
        clock_error_s: By how much its times may differ from the caller's; infinite
            where its clock is not known at all.
    """

    info: MeterInfo
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    power_w: NDArray[np.float64]
    peak_w: NDArray[np.float64]
    marks: tuple[float, ...] = ()
    n_dropped: int = 0
    clock_error_s: float = 0.0

    def shifted(self, seconds: float) -> PowerTrace:
        """Return it as seen by a clock that is so much ahead."""
        return replace(self, start_s=self.start_s + seconds, end_s=self.end_s + seconds)

    def within(self, span: Span) -> PowerTrace:
        """Return the values that stand for times in a span and no others."""
        keep = (self.start_s >= span.start_s) & (self.end_s <= span.end_s)
        return replace(
            self,
            start_s=self.start_s[keep],
            end_s=self.end_s[keep],
            power_w=self.power_w[keep],
            peak_w=self.peak_w[keep],
        )

    @property
    def middle_s(self) -> NDArray[np.float64]:
        """Middle of what each value stands for."""
        return (self.start_s + self.end_s) / 2

    def mean_power_w(self) -> float:
        """Mean over all values; those of longer times weigh more."""
        lengths = self.end_s - self.start_s
        if lengths.sum() > 0:
            return float(np.average(self.power_w, weights=lengths))
        return float(np.mean(self.power_w))

    def standard_error_w(self) -> float:
        """Standard error of the mean, from the scatter of the means of blocks.

        Blocks are long against whatever correlates neighbouring values.
        """
        if len(self.power_w) < 2 * _ERROR_BLOCKS:
            return 0.0
        means = [block.mean() for block in np.array_split(self.power_w, _ERROR_BLOCKS)]
        return float(np.std(means, ddof=1) / np.sqrt(_ERROR_BLOCKS))

    def power_at(self, moment_s: float) -> float:
        """Return the power on a straight line through the values, at a moment."""
        if len(self.power_w) < 2:
            return self.mean_power_w()
        middle = self.middle_s - moment_s
        _, at = np.polyfit(middle, self.power_w, 1)
        return float(at)

    def checked(self) -> PowerTrace:
        """Return it if it can be believed.

        Raises:
            MeterError: If values are missing, out of order or not finite.
        """
        rail = self.info.rail
        if len(self.power_w) == 0:
            raise MeterError(f"{rail}: the meter recorded nothing")
        if not (np.isfinite(self.power_w).all() and np.isfinite(self.start_s).all()):
            raise MeterError(f"{rail}: the meter recorded values that are no numbers")
        if np.any(np.diff(self.start_s) <= 0):
            raise MeterError(f"{rail}: the meter's samples are out of order")
        if self.n_dropped > _DROPPED * (len(self.power_w) + self.n_dropped):
            raise MeterError(
                f"{rail}: the meter lost {self.n_dropped} of "
                f"{len(self.power_w) + self.n_dropped} samples",
                "use another USB port without a hub, or a lower rate",
            )
        return self


def align_to_marks(trace: PowerTrace, window: Span) -> tuple[PowerTrace, float]:
    """Move a trace to where its last two marks say that the window began and ended.

    Args:
        trace: With marks.
        window: When the device ran the inferences that count, its marker raised.

    Returns:
        The trace on the caller's clock, and by how much its clock was late.

    Raises:
        MeterError: If the marks are not as far apart as the window is long.
    """
    rise_s, fall_s = trace.marks[-2:] if len(trace.marks) > 1 else (0.0, 0.0)
    if abs(fall_s - rise_s - window.length_s) > max(_MARK_SLACK_S, 0.01 * window.length_s):
        raise MeterError(
            f"{trace.info.rail}: its marker input changed {len(trace.marks)} times, the last two "
            f"{fall_s - rise_s:.3g} s apart, and the window was {window.length_s:.3g} s long",
            "look after the wire from marker_file's pin, or remove marker_file",
        )
    shift_s = ((rise_s - window.start_s) + (fall_s - window.end_s)) / 2
    return trace.shifted(-shift_s), shift_s


def align(trace: PowerTrace, busy: Span, around: Span, most_s: float) -> tuple[PowerTrace, float]:
    """Move a trace to where its edges say that the device was busy.

    Of all shifts, the one is taken at which two levels, one while busy and one before and
    after, fit best (least squares). A shift within what the clocks may differ by
    anyway is not applied where the edges are too faint to tell.

    Args:
        trace: As recorded.
        busy: When the device ran inferences.
        around: Idle before, busy, and idle after.
        most_s: Largest shift to look for.

    Returns:
        The trace on the caller's clock, and by how much its clock was late.

    Raises:
        MeterError: If its clock may be off by more than a guard allows and no edge shows by
            how much.
    """
    shift_s, contrast = _best_shift(trace, busy, around, most_s)
    if contrast < _LEAST_CONTRAST:
        if trace.clock_error_s > _guard_s(trace.info):
            raise MeterError(
                f"{trace.info.rail}: its clock is unknown, and running inferences makes "
                "no step in the power that would show where they began",
                "use a marker input, or a meter whose clock is this computer's",
            )
        return trace, 0.0
    if abs(shift_s) >= 0.98 * most_s:
        raise MeterError(
            f"{trace.info.rail}: its clock is off by {most_s:.1f} s or more",
            "set its clock, or start its recording with the measurement",
        )
    if abs(shift_s) <= _guard_s(trace.info):
        return trace, 0.0
    return trace.shifted(-shift_s), shift_s


def _guard_s(info: MeterInfo) -> float:
    return max(2 * info.update_period_s, 0.05)


def _best_shift(trace: PowerTrace, busy: Span, around: Span, most_s: float) -> tuple[float, float]:
    """Return the shift that fits best and the contrast of its step."""
    middle, power = trace.middle_s, trace.power_w
    total = np.concatenate([[0.0], np.cumsum(power)])
    shifts = np.linspace(-most_s, most_s, _ALIGNMENT_STEPS)
    first, last = np.searchsorted(middle, [around.start_s + most_s, around.end_s - most_s])
    begin = np.clip(np.searchsorted(middle, busy.start_s + shifts), first, last)
    end = np.clip(np.searchsorted(middle, busy.end_s + shifts), first, last)
    n_busy, n_all = end - begin, last - first
    n_idle = n_all - n_busy
    if n_all < 3 or np.all((n_busy < 1) | (n_idle < 1)):
        return 0.0, 0.0
    counted = np.maximum(n_busy, 1), np.maximum(n_idle, 1)
    busy_w = (total[end] - total[begin]) / counted[0]
    idle_w = (total[last] - total[first] - (total[end] - total[begin])) / counted[1]
    # what two levels explain of the variance: n_b n_i / n (difference of means)^2
    explained = np.where(
        (n_busy > 0) & (n_idle > 0), n_busy * n_idle / n_all * (busy_w - idle_w) ** 2, 0.0
    )
    most = explained.max()
    flat = np.flatnonzero(explained >= most * (1 - 1e-9))
    best = int(flat[len(flat) // 2])
    left = float(np.sum((power[first:last] - power[first:last].mean()) ** 2) - most)
    scatter = np.sqrt(max(left, 0.0) / max(n_all - 2, 1))
    error = scatter * np.sqrt(1 / counted[0][best] + 1 / counted[1][best])
    step = abs(float(busy_w[best] - idle_w[best]))
    # a step below the meter's resolution is none
    return float(shifts[best]), step / max(float(error), trace.info.resolution / 10, 1e-12)
