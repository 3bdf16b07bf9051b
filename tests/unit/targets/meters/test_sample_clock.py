"""Times of samples against an instrument whose clock and delays are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.meters.sample_clock import SampleClock

PERIOD_S = 1e-3
PIECE = 100


def errors_s(
    delays_s: np.ndarray, ppm: float = 0.0, start_s: float = 1000.0
) -> tuple[np.ndarray, np.ndarray]:
    """Times told and their errors; a piece of 100 samples comes at once, with each delay.

    Args:
        delays_s: Between the end of a piece's last sample and its arrival.
        ppm: By which the instrument's period is longer than it says.
    """
    clock, told = SampleClock(PERIOD_S), []
    true_period_s = PERIOD_S * (1 + ppm * 1e-6)
    for i, delay_s in enumerate(delays_s):
        end = PIECE * (i + 1)
        clock.arrived(end, start_s + end * true_period_s + delay_s)
        assert clock.missing() == 0
        told.append(clock.times(np.arange(PIECE * i, end), end))
    times = np.concatenate(told)
    true = start_s + (np.arange(len(times)) + 0.5) * true_period_s
    return times, times - true


def test_times_are_the_middles_of_periods_that_end_when_samples_arrive() -> None:
    clock = SampleClock(PERIOD_S)
    clock.arrived(3, 50.003)
    assert clock.times(np.arange(3), 3) == pytest.approx([50.0005, 50.0015, 50.0025], rel=1e-12)
    clock.arrived(6, 50.006)
    # number 4 was lost
    assert clock.times(np.array([3, 5]), 6) == pytest.approx([50.0035, 50.0055], rel=1e-12)


def test_times_are_late_by_the_least_delay_only() -> None:
    """Delays of 1 ms, and of up to 20 ms more, as of a busy computer."""
    rng = np.random.default_rng(2)
    delays_s = 1e-3 + rng.exponential(4e-3, 600).clip(max=20e-3)
    _, error_s = errors_s(delays_s)
    # of the ten arrivals that count, the least delay is 1.4 ms on average; times move away
    # from it by 0.2 ms in a second at most, for some seconds
    settled = error_s[2000:]
    assert settled.min() > 1e-3 - 1e-9
    assert settled.max() < 2e-3


@pytest.mark.parametrize("ppm", [-100.0, -30.0, 30.0, 100.0])
def test_times_follow_this_computers_clock_for_ten_minutes(ppm: float) -> None:
    """Two clocks 100 ppm apart differ by 60 ms after ten minutes."""
    times, error_s = errors_s(np.full(6000, 1e-3), ppm)
    # behind by what the clocks drift apart in the second that is remembered
    assert np.abs(error_s - 1e-3).max() < 1.5 * abs(ppm) * 1e-6
    assert np.ptp(np.diff(times)) < 2.1 * abs(ppm) * 1e-6 * PERIOD_S + 1e-9


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 0.5)), min_size=2, max_size=40))
def test_times_always_increase(pieces: list[tuple[int, float]]) -> None:
    """However late or early pieces of any size come."""
    clock, taken, now_s, told = SampleClock(PERIOD_S), 0, 10.0, []
    for n, later_s in pieces:
        now_s += later_s
        clock.arrived(taken + n, now_s)
        taken += clock.missing()
        told.append(clock.times(np.arange(taken, taken + n), taken + n))
        taken += n
    assert np.all(np.diff(np.concatenate(told)) > 0)


@pytest.mark.parametrize(("n_lost", "step"), [(300, 1), (256, 64), (12, 1)])
def test_samples_that_vanish_unnoticed_are_found_after_a_second(n_lost: int, step: int) -> None:
    clock, taken, found, told = SampleClock(PERIOD_S), 0, [], []
    for i in range(40):
        vanished = n_lost if i >= 10 else 0
        clock.arrived(taken + PIECE, 5 + (PIECE * (i + 1) + vanished) * PERIOD_S)
        unseen = clock.missing(step)
        found.append(unseen)
        taken += unseen
        told.append(clock.times(np.arange(taken, taken + PIECE), taken + PIECE))
        taken += PIECE
    assert sum(found) == n_lost
    assert 18 <= int(np.flatnonzero(found)[0]) <= 21
    # afterwards, times are right again, but for what the clock made up for meanwhile
    right = 5 + (PIECE * 40 + n_lost - 0.5) * PERIOD_S
    assert told[-1][-1] == pytest.approx(right, abs=0.5e-3)


def test_before_anything_arrives_there_are_no_times() -> None:
    assert len(SampleClock(PERIOD_S).times(np.empty(0, np.int64), 0)) == 0
