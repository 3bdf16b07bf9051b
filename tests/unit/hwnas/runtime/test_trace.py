"""Traces: what is read, what is refused, and what is generated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import UserError
from hwnas.runtime.trace import read_trace
from hwnas.runtime.trace_generator import SensingDay, generate_trace

GOOD = "time_s,event,temperature_c,charging\n0,0,20,0\n5,1,21.5,0\n15,0,22,1\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return path


def test_a_trace_is_read_column_by_column(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, GOOD))
    assert trace.time_s.tolist() == [0, 5, 15]
    assert trace.event.tolist() == [False, True, False]
    assert trace.temperature_c is not None
    assert trace.temperature_c.tolist() == [20, 21.5, 22]
    assert trace.charging is not None
    assert trace.charging.tolist() == [False, False, True]
    # 5 s, 10 s and for the last the median of both
    assert trace.intervals_s.tolist() == [5, 10, 7.5]
    assert trace.duration_s == 22.5


def test_the_byte_order_mark_of_a_spreadsheet_is_no_part_of_a_column(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xef\xbb\xbftime_s,event\r\n0,0\r\n5,1\r\n")
    assert read_trace(path).event.tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "1: column 'time_s' is missing"),
        ("time_s\n0\n", "1: column 'event' is missing"),
        ("time_s,evnt\n0,0\n", "1: unknown column 'evnt'. Did you mean 'event'?"),
        ("time_s,event,event\n0,0,0\n", "1: column 'event' is there twice"),
        ("time_s,event\n0,0\n", "wanted at least two rows. Got 1."),
        ("time_s,event\n0,0\n5\n", "3: wanted 2 cells. Got 1."),
        ("time_s,event\n0,0\n5,\n", "3: event: wanted 0 or 1. Got ''."),
        ("time_s,event\n0,0\n,1\n", "3: time_s: wanted a number. Got ''."),
        ("time_s,event\n0,0\nnan,1\n", "3: time_s: wanted a number. Got 'nan'."),
        ("time_s,event\n0,0\n5,1\n5,0\n", "4: time_s: wanted later than 5. Got 5."),
        ("time_s,event\n0,0\n3601,1\n", "3: time_s: a gap of 3601 s"),
        ("time_s,event,temperature_c\n0,0,300\n", "2: temperature_c: wanted -60 to 150. Got 300."),
        ("time_s,event,charging\n0,0,yes\n", "2: charging: wanted 0 or 1. Got 'yes'."),
        ('time_s,event\n0,"0\n', "not CSV"),
    ],
)
def test_a_wrong_trace_is_refused_by_its_line(tmp_path: Path, text: str, wanted: str) -> None:
    with pytest.raises(UserError, match=r"trace\.csv:") as caught:
        read_trace(written(tmp_path, text))
    assert wanted in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_trace(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not CSV"):
        read_trace(tmp_path / "binary.csv")


def test_a_generated_trace_comes_back_from_its_file(tmp_path: Path) -> None:
    trace = generate_trace(SensingDay(interval_s=60.0), seed=3)
    read = read_trace(written(tmp_path, trace.to_csv()))
    np.testing.assert_array_equal(read.time_s, trace.time_s)
    np.testing.assert_array_equal(read.event, trace.event)
    assert read.temperature_c is not None
    assert trace.temperature_c is not None
    # two digits are written
    np.testing.assert_allclose(read.temperature_c, trace.temperature_c, atol=0.005)


def test_bursts_are_as_many_and_as_long_as_asked_for_and_rarer_at_night() -> None:
    day = SensingDay(
        interval_s=2.0,
        burst_interval_s=2.0,
        bursts_per_day=10,
        burst_s=30,
        night_share=0.2,
        days=200,
    )
    trace = generate_trace(day, seed=0)
    starts = np.flatnonzero(np.diff(trace.event.astype(int)) == 1) + 1
    # Poisson: 2000 +- 45; a burst shorter than an interval may fall between inferences, which
    # leaves (1 - exp(-u)) / u with u = 2 / 30 of them, and a few overlap
    assert len(starts) == pytest.approx(2000 * (1 - np.exp(-2 / 30)) * 15, rel=0.08)
    # 300 s of 86,400 a day
    assert trace.event.mean() == pytest.approx(10 * 30 / 86_400, rel=0.1)
    hour = trace.time_s[starts] % 86_400 / 3600
    nightly = np.count_nonzero((hour < 6) | (hour >= 22)) / 8
    daily = np.count_nonzero((hour >= 6) & (hour < 22)) / 16
    # about 180 nightly bursts: 7.5 % of scatter
    assert nightly / daily == pytest.approx(0.2, rel=0.25)
    assert trace.temperature_c is not None
    assert trace.time_s[np.argmax(trace.temperature_c[:43_200])] == 15 * 3600


def test_inferences_are_closer_within_bursts_than_outside() -> None:
    trace = generate_trace(SensingDay(interval_s=10.0, burst_interval_s=2.0), seed=0)
    gaps_s = np.diff(trace.time_s)
    within = trace.event[:-1] & trace.event[1:]
    outside = ~trace.event[:-1] & ~trace.event[1:]
    assert set(gaps_s[within]) == {2.0}
    assert set(gaps_s[outside]) == {10.0}
    assert gaps_s.max() == 10.0


def test_a_seed_gives_one_trace() -> None:
    first, again, other = (generate_trace(SensingDay(), seed).to_csv() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "values",
    [
        {"interval_s": 0.0},
        {"interval_s": 4000.0},
        {"interval_s": 60.0, "days": 0.001},
        {"interval_s": 1e-3, "burst_interval_s": 1e-3},
        {"interval_s": 5.0, "burst_interval_s": 2.0},
        {"interval_s": 5.0, "burst_interval_s": 10.0},
        {"bursts_per_day": -1.0},
        {"burst_s": float("nan")},
        {"night_share": 1.5},
    ],
)
def test_a_day_that_makes_no_sense_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(UserError, match="wanted"):
        SensingDay(**values)
