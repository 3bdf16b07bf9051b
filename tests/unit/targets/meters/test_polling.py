import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from targets.meters import MeterError, PowerSamples
from targets.meters.polling import checked_period_s, jittered_steps, poll

IDLE_W, BUSY_W = 2.0, 5.0


def bursts(t_s: np.ndarray, cycle_s: float, duty: float) -> np.ndarray:
    """Power of a device that is busy for the first part of each cycle."""
    return np.where(t_s / cycle_s % 1 < duty, BUSY_W, IDLE_W)


@settings(deadline=None, max_examples=50)
@given(
    cycles=st.integers(1, 5),
    duty=st.floats(0.1, 0.9),
    phase=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_a_load_whose_cycles_fit_into_the_period_is_met_at_all_its_parts(
    cycles: int, duty: float, phase: float, seed: int
) -> None:
    """Equal steps would see one part of the cycle for ever: busy, or idle.

    A step varies over a whole period or more, in cycles: readings of one cycle fall evenly
    onto it and are independent. The mean of n is then within five standard errors of the
    true one, sqrt(d (1 - d) / n) of the step in power, but for one case in a million.
    """
    period_s, n = 0.1, 4000
    rng = np.random.default_rng(seed)
    steps = np.fromiter(itertools.islice(jittered_steps(period_s, rng), n), float)
    t_s = np.cumsum(steps) + phase * period_s
    equal_s = period_s * (np.arange(n) + phase + 1e-6)
    cycle_s = period_s / cycles
    truth_w = IDLE_W + duty * (BUSY_W - IDLE_W)
    error_w = (BUSY_W - IDLE_W) * np.sqrt(duty * (1 - duty) / n)
    assert abs(bursts(t_s, cycle_s, duty).mean() - truth_w) < 5 * error_w
    assert np.ptp(bursts(equal_s[:1000], cycle_s, duty)) == 0


def test_steps_are_a_period_on_average_and_at_most_half_of_it_away() -> None:
    """Of 10,000 uniform steps, the mean is within five standard errors, 0.2 / sqrt(12 n).

    That none lies in the last 0.5 % at either end has a chance of 1 in 10^21.
    """
    steps = np.fromiter(
        itertools.islice(jittered_steps(0.2, np.random.default_rng(7)), 10_000), float
    )
    assert 0.1 <= steps.min() < 0.101
    assert 0.299 < steps.max() <= 0.3
    assert abs(steps.mean() - 0.2) < 5 * 0.2 / np.sqrt(12 * 10_000)
    assert np.unique(steps).size > 9_900


def collect(stream: Iterator[PowerSamples], n: int) -> list[PowerSamples]:
    pieces: list[PowerSamples] = []
    while sum(len(piece.t_s) for piece in pieces) < n:
        pieces.append(next(stream))
    return pieces


def test_a_reading_is_stamped_in_the_middle_of_itself() -> None:
    """The times at which it began and ended enclose its stamp, but for interruptions."""
    spans = []

    def read_w() -> float:
        began = time.monotonic()
        time.sleep(0.002)
        spans.append((began, time.monotonic()))
        return 1.5

    pieces = collect(poll(read_w, 0.01, threading.Event()), 20)
    t_s = np.concatenate([piece.t_s for piece in pieces])
    began_s, ended_s = np.array(spans[: len(t_s)]).T
    assert np.all(np.diff(t_s) > 0)
    assert np.median(t_s - began_s) > 0
    assert np.median(ended_s - t_s) > 0
    for piece in pieces:
        assert len(piece.t_s) == len(piece.power_w) == len(piece.marker)
        assert piece.marker.dtype == np.uint8
        assert np.all(piece.power_w == 1.5)


def test_a_slow_sensor_yields_empty_pieces_while_it_waits() -> None:
    """So that whoever reads it can stop in between."""
    stream = poll(lambda: 1.0, 60.0, threading.Event())
    assert [len(next(stream).t_s) for _ in range(3)] == [1, 0, 0]


def test_it_ends_when_closed_from_another_thread_though_a_reading_is_far_away() -> None:
    closed = threading.Event()
    ended = threading.Event()

    def read_all() -> None:
        for _ in poll(lambda: 1.0, 1e6, closed):
            pass
        ended.set()

    threading.Thread(target=read_all, daemon=True).start()
    closed.set()
    assert ended.wait(30)  # long enough for a busy machine, short against 1e6 s


def test_an_error_of_the_sensor_reaches_the_reader() -> None:
    def read_w() -> float:
        raise MeterError("unplugged")

    with pytest.raises(MeterError, match="unplugged"):
        next(poll(read_w, 0.01, threading.Event()))


@pytest.mark.parametrize("period_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_period_that_is_none_is_refused(period_s: float) -> None:
    with pytest.raises(MeterError, match="period_s: wanted seconds above 0"):
        checked_period_s(period_s)


def test_a_period_in_which_the_sensor_has_no_new_value_is_refused() -> None:
    """The same value read twice is one sample, not two."""
    assert checked_period_s(0.04, 0.035) == 0.04
    with pytest.raises(MeterError, match=r"wanted at least 0\.035, .* got 0\.01"):
        checked_period_s(0.01, 0.035)
