"""Several timings of one artifact: the faster median, the slower tail, every doubt."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets import MeasureConfig, Measurement, measurement_from_dict, result_to_dict
from targets.timings import joined

FAST = (1e-3,) * 99 + (1.1e-3,)
SLOW = (1.6e-3,) * 90 + (5e-3,) * 10
STUTTERING = (0.9e-3,) * 90 + (9e-3,) * 10


def timed(latency_s: tuple[float, ...], *flags: str) -> Measurement:
    return Measurement("board", "m", "a", latency_s, 1, 1, MeasureConfig(), "measured", flags=flags)  # type: ignore[arg-type]


def test_the_median_is_the_faster_ones_the_tail_and_the_doubts_are_of_both() -> None:
    fast, slow = timed(FAST, "clock_unpinned"), timed(SLOW, "clock_unpinned", "drifting")
    for first, second in ((fast, slow), (slow, fast)):
        found = joined(first, second)
        assert found.latency_median_s == 1e-3
        assert found.latency_interval_s() == fast.latency_interval_s()
        assert found.latency_p99_s == 5e-3
        assert set(found.flags) == {"clock_unpinned", "drifting"}
        assert found.disturbed


def test_a_faster_timing_that_stutters_keeps_its_own_tail() -> None:
    found = joined(timed(FAST), timed(STUTTERING))
    assert (found.latency_median_s, found.latency_p99_s) == (0.9e-3, 9e-3)


def test_a_third_timing_joins_those_before() -> None:
    found = joined(joined(timed(FAST), timed(SLOW, "throttled")), timed(STUTTERING))
    assert (found.latency_median_s, found.latency_p99_s) == (0.9e-3, 9e-3)
    assert found.flags == ("throttled",)
    # the slow tail of the second outlives a third that is faster than both
    quick = joined(joined(timed(FAST), timed(SLOW)), timed((1e-4,) * 100))
    assert (quick.latency_median_s, quick.latency_p99_s) == (1e-4, 5e-3)


def test_what_was_joined_is_read_back_from_the_disk_as_it_was() -> None:
    found = joined(timed(FAST), timed(SLOW))
    assert measurement_from_dict(json.loads(json.dumps(result_to_dict(found)))) == found
    with pytest.raises(ValueError, match="wanted positive numbers"):
        measurement_from_dict(result_to_dict(found) | {"tail_latency_s": [0.0]})


SAMPLES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=30).map(tuple)


@given(SAMPLES, SAMPLES)
def test_nothing_is_faster_than_the_faster_median_nor_than_the_slower_tail(
    one: tuple[float, ...], other: tuple[float, ...]
) -> None:
    found = joined(timed(one), timed(other))
    assert found.latency_median_s == min(np.median(one), np.median(other))
    assert found.latency_p99_s == max(np.percentile(one, 99), np.percentile(other, 99))
    # so that a recording of it, timed twice, gives it again
    assert joined(found, found) == found
