from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.meters import MeterError, MeterInfo
from targets.power_trace import PowerTrace, Span, align

INFO = MeterInfo("usb", "the board", 0.01, 1e-4, None, 0.0, 0.0, True, False, 100.0)
BUSY, AROUND = Span(10.0, 20.0), Span(0.0, 30.0)


def trace(power_w: np.ndarray, start_s: float = 0.0, length_s: float = 0.01) -> PowerTrace:
    start = start_s + length_s * np.arange(len(power_w))
    return PowerTrace(INFO, start, start + length_s, power_w, power_w)


def step(offset_s: float, height_w: float = 1.0, noise_w: float = 0.05) -> PowerTrace:
    """2 W, and more between 10 and 20 s, as seen by a clock that is late."""
    t = 0.01 * np.arange(3000)
    busy = (t + 0.005 - offset_s >= 10) & (t + 0.005 - offset_s < 20)
    noise = noise_w * np.random.default_rng(0).standard_normal(3000)
    return trace(2 + height_w * busy + noise)


def test_only_values_wholly_inside_a_span_count() -> None:
    """Of four values of 1 s each from 0 s on, between 0.5 and 3.0 s: the second and third."""
    found = trace(np.array([1.0, 2.0, 3.0, 4.0]), length_s=1.0).within(Span(0.5, 3.0))
    assert found.power_w.tolist() == [2.0, 3.0]


def test_a_mean_weighs_longer_times_more() -> None:
    """2 W for 1 s and 5 W for 2 s are 12 J in 3 s."""
    times = np.array([0.0, 1.0])
    values = np.array([2.0, 5.0])
    found = PowerTrace(INFO, times, np.array([1.0, 3.0]), values, values)
    assert found.mean_power_w() == 4.0


def test_instants_weigh_the_same() -> None:
    t, values = np.array([0.0, 1.0, 5.0]), np.array([1.0, 2.0, 6.0])
    assert PowerTrace(INFO, t, t, values, values).mean_power_w() == 3.0


def test_a_power_is_led_on_along_a_straight_line() -> None:
    """1, 2, 3 W in the middle of the first three seconds are 4.5 W after 5 s."""
    found = trace(np.array([1.0, 2.0, 3.0]), length_s=1.0).power_at(5.0)
    assert found == pytest.approx(5.5)


@given(st.floats(-1.9, 1.9))
def test_edges_tell_how_late_a_clock_is(offset_s: float) -> None:
    """A step is found to the spacing of the values and of the shifts tried."""
    aligned, found = align(step(offset_s), BUSY, AROUND, 2.0)
    if abs(offset_s) > 0.06:
        assert found == pytest.approx(offset_s, abs=0.013)
        assert aligned.start_s[0] == pytest.approx(-found)
    elif abs(offset_s) < 0.04:  # within what does no harm anyway
        assert found == 0.0


def test_a_step_lost_in_noise_shifts_nothing() -> None:
    faint = step(0.5, height_w=1e-4)
    assert align(faint, BUSY, AROUND, 2.0) == (faint, 0.0)


def test_a_step_lost_in_noise_is_refused_where_the_clock_is_unknown() -> None:
    faint = replace(step(0.5, height_w=1e-4), clock_error_s=float("inf"))
    with pytest.raises(MeterError, match="usb: its clock is unknown"):
        align(faint, BUSY, AROUND, 2.0)


def test_a_constant_signal_has_no_edges() -> None:
    flat = trace(np.full(3000, 2.0))
    assert align(flat, BUSY, AROUND, 2.0) == (flat, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"power_w": np.array([])}, "recorded nothing"),
        ({"power_w": np.array([1.0, np.nan, 1.0])}, "values that are no numbers"),
        ({"start_s": np.array([0.0, 2.0, 1.0])}, "samples are out of order"),
        ({"start_s": np.array([0.0, 1.0, 1.0])}, "samples are out of order"),
        ({"n_dropped": 1}, "lost 1 of 4 samples"),
    ],
)
def test_what_cannot_be_believed_is_an_error_that_names_the_rail(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(MeterError, match=f"usb: .*{message}"):
        replace(trace(np.ones(3)), **change).checked()  # type: ignore[arg-type]


def test_the_standard_error_of_white_noise_is_its_deviation_over_the_root_of_n() -> None:
    """1 W over sqrt(10,000) is 0.01 W; from 20 blocks it is known to 16 %, 3 of those allowed."""
    noise = np.random.default_rng(1).standard_normal(10_000)
    assert trace(noise).standard_error_w() == pytest.approx(0.01, rel=0.5)
