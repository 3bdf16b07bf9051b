import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from targets.meters import MeterError, PowerSamples
from targets.meters import trace as trace_module
from targets.meters.trace import RecordedTrace
from tests.unit.targets.meters.emulators import RECORDING, MeterSoftware, append


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recording.csv"
    path.write_text(RECORDING)
    return path


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the clocks to settle, where a test is not about them."""
    monkeypatch.setattr(trace_module, "_SETTLE_S", 0.0)


def read(stream: Iterator[PowerSamples], n: int) -> PowerSamples:
    """Return the next pieces as one, until there are so many samples."""
    pieces = [next(stream)]
    while sum(len(piece.t_s) for piece in pieces) < n:
        pieces.append(next(stream))
    return PowerSamples(
        np.concatenate([piece.t_s for piece in pieces]),
        np.concatenate([piece.power_w for piece in pieces]),
        np.concatenate([piece.marker for piece in pieces]),
        sum(piece.n_dropped for piece in pieces),
    )


@pytest.mark.parametrize("n_rows", [1, 50])
def test_rows_that_are_appended_keep_their_distances_on_this_computer_s_clock(
    file: Path, n_rows: int
) -> None:
    """By how much all are late is one number, not below 0 and small: rows cannot come early."""
    software = MeterSoftware(file, n_rows, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0))
    stream = RecordedTrace(path=str(file)).stream()
    software.start()
    try:
        samples = read(stream, 300)
    finally:
        software.stop()
    measured_s, power_w = np.array(software.measured[: len(samples.t_s)]).T
    late_s = samples.t_s - measured_s
    assert np.ptp(late_s) < 1e-6  # rounding of times of 1e3 s or more
    assert late_s[0] >= -1e-6
    assert late_s[0] < 5  # a busy machine; the clocks differ by 1000
    assert samples.power_w.tolist() == power_w.tolist()


@pytest.mark.usefixtures("hasty")
def test_the_last_row_of_a_piece_is_as_late_as_its_arrival_and_none_lies_ahead(file: Path) -> None:
    """A hundred seconds written at once: they lie behind this moment."""
    began_s = time.monotonic()
    stream = RecordedTrace(path=str(file)).stream()
    next(stream)
    append(file, "0.03,1\n100.03,1\n")
    samples = read(stream, 2)
    assert began_s < samples.t_s[1] <= time.monotonic()
    assert np.diff(samples.t_s) == pytest.approx([100.0])


@pytest.mark.usefixtures("hasty")
def test_what_was_there_before_is_not_yielded_and_a_second_stream_begins_anew(file: Path) -> None:
    meter = RecordedTrace(path=str(file))
    for first, powers in ((0.03, [2.0, 3.0]), (0.06, [4.0, 5.0])):
        stream = meter.stream()
        assert len(next(stream).t_s) == 0
        append(file, "".join(f"{first + 0.01 * i:.2f},{p}\n" for i, p in enumerate(powers)))
        assert read(stream, 2).power_w.tolist() == powers
        append(file, f"{first + 0.02:.2f},99\n")


@pytest.mark.usefixtures("hasty")
def test_a_torn_row_waits_for_its_end(file: Path) -> None:
    stream = RecordedTrace(path=str(file)).stream()
    next(stream)
    append(file, "0.03,2.5\n0.04,12")
    assert read(stream, 1).power_w.tolist() == [2.5]
    assert len(next(stream).t_s) == 0
    append(file, ".25\n")
    assert read(stream, 1).power_w.tolist() == [12.25]


@pytest.mark.usefixtures("hasty")
def test_a_row_that_was_torn_when_the_stream_began_is_whole(file: Path) -> None:
    append(file, "0.03,12")
    stream = RecordedTrace(path=str(file)).stream()
    next(stream)
    append(file, ".25\n")
    assert read(stream, 1).power_w.tolist() == [12.25]


@pytest.mark.usefixtures("hasty")
def test_columns_go_by_name_and_a_marker_is_bits(tmp_path: Path) -> None:
    path = tmp_path / "otii.csv"
    path.write_text('\ufeff"marker", voltage_v ,power_w,t_s\r\n0,5,1,0.0\r\n0,5,1,0.1\r\n')
    meter = RecordedTrace(path=str(path))
    assert meter.info.markers
    assert meter.info.update_period_s == pytest.approx(0.1)
    stream = meter.stream()
    next(stream)
    append(path, "0,5,1.25,0.2\r\n255,5,2.5,0.3\r\n")
    samples = read(stream, 2)
    assert samples.power_w.tolist() == [1.25, 2.5]
    assert samples.marker.tolist() == [0, 255]
    assert samples.marker.dtype == np.uint8
    assert np.diff(samples.t_s) == pytest.approx([0.1])


@pytest.mark.usefixtures("hasty")
def test_rows_that_are_missing_between_others_are_counted(file: Path) -> None:
    """Steps of 10 ms: 0.04 and 0.05 are missing, and then 0.08; across pieces, too."""
    stream = RecordedTrace(path=str(file)).stream()
    next(stream)
    append(file, "0.03,1\n0.06,1\n0.07,1\n")
    first = read(stream, 3)
    append(file, "0.09,1\n0.10,1\n")
    assert first.n_dropped + read(stream, 2).n_dropped == 3


def test_its_period_is_the_median_step(tmp_path: Path) -> None:
    """Of 10, 10, 50 and 10 ms."""
    path = tmp_path / "recording.csv"
    path.write_text("t_s,power_w\n0.00,1\n0.01,1\n0.02,1\n0.07,1\n0.08,1\n")
    info = RecordedTrace(path=str(path), rail="board", averages=True, gain_error=0.01).info
    assert info.update_period_s == pytest.approx(0.01)
    assert (info.rail, info.averages, info.gain_error) == ("trace:board", True, 0.01)
    assert not info.markers
    assert not info.polled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "recording.csv:1: wanted a header with t_s and power_w, got ''"),
        ("t_s,current_a\n0,1\n", "got 't_s, current_a'; power_w missing"),
        ("0,1\n1,1\n", "got '0, 1'; t_s and power_w missing"),
        ("t_s,power_w\n", "recording.csv: wanted at least two rows, got 0"),
        ("t_s,power_w\n0,1\n", "wanted at least two rows, got 1"),
        ("t_s,power_w\n0,1\n0,1\n", "recording.csv:3: wanted a t_s above 0, got 0"),
        ("t_s,power_w\n0,1\n1,nan\n", "recording.csv:3: wanted numbers for t_s and power_w"),
    ],
)
def test_what_is_no_recording_is_told_with_the_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "recording.csv"
    path.write_text(text)
    with pytest.raises(MeterError) as error:
        RecordedTrace(path=str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0.03,1", "0.02,1"], ":6: wanted a t_s above 0.03, got 0.02"),
        (["0.03,1", "0.03,1"], ":6: wanted a t_s above 0.03, got 0.03"),
        (["0.03,1", "0.04"], ":6: wanted numbers for t_s and power_w"),
        (["nan,1"], ":5: wanted numbers"),
        (["0.03,inf"], ":5: wanted numbers"),
        (["t_s,power_w"], "got 't_s,power_w'"),
        ([""], "got ''"),
        (["\x00\x01,\x02"], ":5: wanted numbers"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(file: Path, rows: Sequence[str], message: str) -> None:
    stream = RecordedTrace(path=str(file)).stream()
    next(stream)
    append(file, "".join(f"{row}\n" for row in rows))
    with pytest.raises(MeterError) as error:
        read(stream, len(rows))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("marker", ["-1", "256", "0.5", "high", ""])
def test_a_marker_that_is_no_byte_is_told(tmp_path: Path, marker: str) -> None:
    path = tmp_path / "recording.csv"
    path.write_text(f"t_s,power_w,marker\n0,1,0\n1,1,{marker}\n")
    with pytest.raises(MeterError, match=r":3: wanted .* 0 to 255 for a marker"):
        RecordedTrace(path=str(path))


def test_a_file_that_does_not_grow_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "_SILENCE_S", 0.2)
    with pytest.raises(MeterError, match=r"does not grow for 0\.2 s") as error:
        read(RecordedTrace(path=str(file)).stream(), 1)
    assert "start the meter's software" in error.value.fix


@pytest.mark.usefixtures("hasty")
def test_a_file_that_is_written_anew_is_told(file: Path) -> None:
    stream = RecordedTrace(path=str(file)).stream()
    next(stream)
    file.write_text("t_s,power_w\n")
    with pytest.raises(MeterError, match="was cut while it was read"):
        read(stream, 1)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match=r"recording\.csv: cannot be read") as error:
        RecordedTrace(path=str(tmp_path / "recording.csv"))
    assert "start the meter's software" in error.value.fix


@pytest.mark.usefixtures("hasty")
def test_a_file_that_is_removed_before_a_stream_is_told(file: Path) -> None:
    meter = RecordedTrace(path=str(file))
    file.unlink()
    with pytest.raises(MeterError, match="cannot be read"):
        next(meter.stream())
