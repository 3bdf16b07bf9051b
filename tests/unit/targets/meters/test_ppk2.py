"""The driver against a kit on a pseudo terminal; currents worked out by hand."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from targets.meters import MeterError, PowerSampler, PowerSamples
from targets.meters.ppk2 import Ppk2
from tests.unit.targets.meters.ppk2_emulator import CALIBRATION_R, Ppk2Emulator, metadata, words

# reading 9251 in range 3, where R is 0.94 ohm and gains are 1:
# x = 4 * 9251 * 1.8 / 163840 / 0.94 = 0.4324873 A, and I = x (x + 1) = 0.619533 A
CURRENT_A = pytest.approx(0.619533, rel=1e-6)
N = 30_000
SENT = words(9251, 3, N)

Plug = Callable[..., Ppk2Emulator]


@pytest.fixture
def plug_in() -> Iterator[Plug]:
    kits: list[Ppk2Emulator] = []

    def plug(*args: object, **kwargs: object) -> Ppk2Emulator:
        kits.append(Ppk2Emulator(*args, **kwargs))  # type: ignore[arg-type]
        return kits[-1]

    yield plug
    for kit in kits:
        kit.unplug()


def taken(meter: Ppk2, n: int) -> list[PowerSamples]:
    """Pieces with the first n samples, those that are lost included."""
    pieces: list[PowerSamples] = []
    stream = meter.stream()
    for samples in stream:
        pieces.append(samples)
        if sum(len(p.t_s) + p.n_dropped for p in pieces) >= n:
            break
    stream.close()  # type: ignore[attr-defined]
    return pieces


def joined(pieces: list[PowerSamples]) -> PowerSamples:
    return PowerSamples(
        np.concatenate([p.t_s for p in pieces]),
        np.concatenate([p.power_w for p in pieces]),
        np.concatenate([p.marker for p in pieces]),
        sum(p.n_dropped for p in pieces),
    )


def test_a_sample_is_the_current_that_the_calibration_makes_of_it_times_the_voltage(
    plug_in: Plug,
) -> None:
    meter = Ppk2(port=plug_in(SENT.tobytes()).port, voltage_v=3.3)
    assert isinstance(meter, PowerSampler)
    found = joined(taken(meter, N // 2))
    assert np.ptp(found.power_w) == 0
    assert found.power_w[0] / 3.3 == CURRENT_A
    assert found.n_dropped == 0
    meter.close()


def test_every_coefficient_of_the_range_counts(plug_in: Plug) -> None:
    """Each range with its own; the current by the formula, number by number."""
    changes = {}
    for i in range(5):
        changes |= {f"O{i}": f"{100 + i}", f"GS{i}": f"{0.5 + i}", f"GI{i}": f"{0.9 + 0.01 * i}"}
        changes |= {f"S{i}": f"{1e-5 * i}", f"I{i}": f"{-2e-5 * i}", f"UG{i}": f"{1.1 - 0.02 * i}"}
    content = np.concatenate([words(1000 + 7 * i, i, 640) for i in range(5)])
    content = np.concatenate([content, content])
    kit = plug_in(content.tobytes(), answer=metadata(**changes))
    found = joined(taken(Ppk2(port=kit.port, voltage_v=2.0), 4000)).power_w
    for i, resistance in enumerate(CALIBRATION_R):
        x = (4 * (1000 + 7 * i) - (100 + i)) * 1.8 / 163840 / resistance
        current_a = x * ((0.5 + i) * x + 0.9 + 0.01 * i) + 1e-5 * i * 2.0 - 2e-5 * i
        expected_w = 2.0 * (1.1 - 0.02 * i) * current_a
        assert np.isclose(found, expected_w, rtol=1e-12).sum() >= 638


def test_times_are_ten_microseconds_apart_and_never_of_the_future(plug_in: Plug) -> None:
    meter = Ppk2(port=plug_in(SENT.tobytes()).port, voltage_v=3.3)
    begin = time.monotonic()
    pieces = taken(meter, 25_000)
    end = time.monotonic()
    t = joined(pieces).t_s
    assert begin < t[0]
    assert t[-1] < end
    # the emulator's pauses make the anchor move back where one delay is less than all before
    steps = np.diff(t)
    assert steps.min() > 0.49e-5
    assert steps.max() < 1.001e-5
    # a busy machine delays arrivals, but never lets samples come early
    assert t[-1] - t[0] == pytest.approx((len(t) - 1) * 1e-5, abs=0.02)


def test_an_input_is_the_marker_and_the_others_are_not(plug_in: Plug) -> None:
    """D2 is high from sample 5,000 to 14,999, and D0 all the time."""
    content = words(500, 3, N, logic=lambda i: 1 | (4 if 5000 <= i < 15_000 else 0))
    kit = plug_in(content.tobytes())
    meter = Ppk2(port=kit.port, voltage_v=3.3, marker_input=2)
    marker = joined(taken(meter, 20_000)).marker
    # the stream's first two samples are not sure to be whole
    assert np.flatnonzero(np.diff(marker != 0)).tolist() == [4997, 14_997]
    assert meter.info.markers
    meter.close()
    plain = Ppk2(port=kit.port, voltage_v=3.3)
    assert not plain.info.markers
    assert not joined(taken(plain, 2000)).marker.any()


def test_lost_samples_are_counted_and_leave_a_gap_in_the_times(plug_in: Plug) -> None:
    """Of the samples 1000 to 1019, nothing arrives."""
    kit = plug_in(SENT.tobytes(), lost=range(1000, 1020))
    found = joined(taken(Ppk2(port=kit.port, voltage_v=3.3), 8000))
    assert found.n_dropped == 20
    steps = np.diff(found.t_s)
    assert int(np.argmax(steps)) == 997
    # ten microseconds each, or half of it where the clock has to be set back
    assert 10e-5 < steps[997] < 21.1e-5


def test_bytes_that_are_lost_cost_a_few_samples_and_no_wrong_power(plug_in: Plug) -> None:
    content = SENT.tobytes()
    content = content[:8002] + content[8003:20_001] + b"noise" + content[20_001:]
    found = joined(taken(Ppk2(port=plug_in(content).port, voltage_v=3.3), 20_000))
    assert np.ptp(found.power_w) == 0
    assert 2 <= found.n_dropped <= 10


def test_samples_of_a_range_that_does_not_exist_are_lost(plug_in: Plug) -> None:
    content = SENT.copy()
    content[2000:2003] |= 7 << 14
    found = joined(taken(Ppk2(port=plug_in(content.tobytes()).port, voltage_v=3.3), 8000))
    assert found.n_dropped == 3
    assert found.power_w.max() < 3.3 * 0.62


def test_more_lost_samples_than_its_counter_shows_are_found_by_the_clock(plug_in: Plug) -> None:
    """A quarter of a second's, a multiple of 64, so that the counter counts on."""
    lost = range(10_000, 10_000 + 64 * 400)
    kit = plug_in(words(500, 3, 64).tobytes() * 3500, lost=lost)
    found = joined(taken(Ppk2(port=kit.port, voltage_v=3.3), 200_000))
    # how late samples arrive on a busy machine counts as loss: 5 ms are allowed here
    assert found.n_dropped == pytest.approx(len(lost), abs=500)
    assert found.n_dropped % 64 == 0
    assert np.all(np.diff(found.t_s) > 0)


def test_the_supply_is_set_before_the_device_gets_it_and_stays_on(plug_in: Plug) -> None:
    """3300 mV are 0x0CE4; source mode is 2."""
    kit = plug_in(SENT.tobytes())
    meter = Ppk2(port=kit.port, voltage_v=3.3)
    taken(meter, 2000)
    meter.close()
    time.sleep(0.1)
    order = [kit.received.index(c) for c in (b"\x11\x02", b"\x0d\x0c\xe4", b"\x0c\x01", b"\x06")]
    assert order == sorted(order)
    assert b"\x0c\x00" not in kit.received
    assert kit.received.endswith(b"\x07\x07")


def test_in_ampere_mode_the_kit_sits_in_the_line(plug_in: Plug) -> None:
    kit = plug_in()
    meter = Ppk2(port=kit.port, voltage_v=5.0, mode="ampere")
    time.sleep(0.05)
    assert b"\x11\x01" in kit.received
    assert "passes on" in meter.info.scope
    assert meter.info.range_w == 5.0


def test_it_can_be_started_again_after_a_stop(plug_in: Plug) -> None:
    kit = plug_in(SENT.tobytes())
    meter = Ppk2(port=kit.port, voltage_v=3.3)
    for _ in range(3):
        found = joined(taken(meter, 2000))
        assert found.power_w[0] / 3.3 == CURRENT_A
        assert found.n_dropped == 0
    assert kit.received.count(b"\x06") == 3


def test_a_kit_that_was_left_sending_is_stopped_first(plug_in: Plug) -> None:
    kit = plug_in(sending=True)
    assert Ppk2(port=kit.port, voltage_v=3.3).info.rail == f"ppk2:{kit.port}"


def test_what_never_stops_sending_is_named(plug_in: Plug) -> None:
    kit = plug_in(sending=True, deaf=True)
    with pytest.raises(MeterError, match="goes on sending after a stop") as error:
        Ppk2(port=kit.port, voltage_v=3.3)
    assert error.value.fix


def test_unplugged_in_the_middle_is_an_error_that_says_so(plug_in: Plug) -> None:
    kit = plug_in(SENT.tobytes(), unplugged_after_s=0.15)
    meter = Ppk2(port=kit.port, voltage_v=3.3)
    with pytest.raises(MeterError, match=rf"PPK2 at {kit.port}: unplugged\?"):
        taken(meter, N)
    meter.close()


def test_a_kit_that_stops_sending_is_an_error_after_empty_pieces(plug_in: Plug) -> None:
    meter = Ppk2(port=plug_in(words(500, 3, 2000).tobytes()).port, voltage_v=3.3)
    sizes: list[int] = []
    with pytest.raises(MeterError, match="no samples for 1 s"):
        sizes.extend(len(samples.t_s) for samples in meter.stream())
    assert sizes[-1] == 0
    assert len(sizes) >= 5


def test_noise_is_no_samples(plug_in: Plug) -> None:
    noise = np.random.default_rng(1).bytes(600_000)
    meter = Ppk2(port=plug_in(noise).port, voltage_v=3.3)
    with pytest.raises(MeterError, match="no samples for 1 s"):
        taken(meter, 1000)


@pytest.mark.parametrize(
    ("answer", "said"), [(b"", "said nothing"), (b"AT\r\nERROR\r\n", r"said b'AT\\r\\nERROR")]
)
def test_another_device_is_no_kit_and_the_error_says_what_to_try(
    plug_in: Plug, answer: bytes, said: str
) -> None:
    with pytest.raises(MeterError, match=f"no answer as of a PPK2 .{said}") as error:
        Ppk2(port=plug_in(answer=answer).port, voltage_v=3.3)
    assert "try the other" in error.value.fix


def test_a_coefficient_that_is_missing_is_an_error(plug_in: Plug) -> None:
    with pytest.raises(MeterError, match="its calibration lacks GI2"):
        Ppk2(port=plug_in(answer=metadata(GI2="")).port, voltage_v=3.3)


def test_a_coefficient_that_is_no_number_is_nominal_and_the_meter_says_so(plug_in: Plug) -> None:
    kit = plug_in(SENT.tobytes(), answer=metadata(R3="-nan", UG1="-nan"))
    meter = Ppk2(port=kit.port, voltage_v=3.3)
    assert "no calibration of R3, UG1" in meter.info.source
    assert joined(taken(meter, 2000)).power_w[0] / 3.3 == CURRENT_A


def test_one_port_is_for_one_program(plug_in: Plug) -> None:
    kit = plug_in()
    meter = Ppk2(port=kit.port, voltage_v=3.3)
    with pytest.raises(MeterError, match="another program uses it"):
        Ppk2(port=kit.port, voltage_v=3.3)
    meter.close()


def test_a_port_that_may_not_be_opened_says_which_group_may(
    plug_in: Plug, forbidden: Callable[[Path], AbstractContextManager[None]]
) -> None:
    port = plug_in().port
    with (
        forbidden(Path(port)),
        pytest.raises(MeterError, match=f"PPK2 at {port}: permission denied") as error,
    ):
        Ppk2(port=port, voltage_v=3.3)
    assert "dialout" in error.value.fix


def test_what_is_no_serial_port_is_named(tmp_path: Path) -> None:
    (tmp_path / "port").touch()
    with pytest.raises(MeterError, match="cannot be opened") as error:
        Ppk2(port=str(tmp_path / "port"), voltage_v=3.3)
    assert error.value.fix == "is it a serial port?"


def test_without_pyserial_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MeterError, match="the package pyserial is missing") as error:
        Ppk2(port="/dev/ttyACM99", voltage_v=3.3)
    assert "hwnas[meters]" in error.value.fix


def test_a_missing_port_is_named() -> None:
    with pytest.raises(MeterError, match="/dev/ttyACM99: there is no such port; there are: "):
        Ppk2(port="/dev/ttyACM99", voltage_v=3.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voltage_v": 0.5}, r"voltage_v: wanted 0\.8 to 5 V, got 0\.5"),
        ({"voltage_v": 5.1}, r"voltage_v: wanted 0\.8 to 5 V, got 5\.1"),
        ({"voltage_v": 3.3, "marker_input": 8}, "marker_input: wanted 0 to 7, got 8"),
    ],
)
def test_what_it_cannot_do_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(MeterError, match=message):
        Ppk2(port="/dev/null", **options)  # type: ignore[arg-type]
