"""The driver against a kit on a pseudo terminal; currents worked out by hand."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from targets.meters import MeterError, PowerSampler, PowerSamples
from targets.meters.ppk2 import Ppk2
from tests.unit.targets.meters.ppk2_emulator import Ppk2Emulator, words

# reading 9251 in range 3, where R is 0.94 ohm and gains are 1:
# x = 4 * 9251 * 1.8 / 163840 / 0.94 = 0.432493 A, and I = x (x + 1) = 0.619542 A
CURRENT_A = 0.6195
N = 40_000


def plug_in(content: bytes, **emulator: object) -> tuple[Ppk2Emulator, Ppk2]:
    kit = Ppk2Emulator(content, **emulator)  # type: ignore[arg-type]
    return kit, Ppk2(port=kit.port, voltage_v=3.3)


def taken(meter: Ppk2, n: int, timeout_s: float = 20.0) -> PowerSamples:
    """The first n samples, or all that come in time, as one piece."""
    pieces: list[PowerSamples] = []
    end = time.monotonic() + timeout_s
    stream = meter.stream()
    for samples in stream:
        pieces.append(samples)
        if sum(len(p.t_s) for p in pieces) >= n or time.monotonic() > end:
            break
    stream.close()  # type: ignore[attr-defined]
    return PowerSamples(
        np.concatenate([p.t_s for p in pieces]),
        np.concatenate([p.power_w for p in pieces]),
        np.concatenate([p.marker for p in pieces]),
        sum(p.n_dropped for p in pieces),
    )


@pytest.fixture
def kits() -> Iterator[list[tuple[Ppk2Emulator, Ppk2]]]:
    used: list[tuple[Ppk2Emulator, Ppk2]] = []
    yield used
    for kit, meter in used:
        meter.close()
        kit.unplug()


def test_a_sample_is_the_current_that_the_calibration_makes_of_it_times_the_voltage(kits) -> None:
    kits.append(plug_in(words(9251, 3, N).tobytes()))
    _, meter = kits[0]
    assert isinstance(meter, PowerSampler)
    found = taken(meter, N)
    assert len(found.power_w) == N
    assert found.power_w == pytest.approx(np.full(N, 3.3 * CURRENT_A), rel=1e-4)
    assert found.n_dropped == 0


@pytest.mark.parametrize(
    ("level", "resistance"), list(enumerate((1031.64, 101.65, 10.15, 0.94, 0.043)))
)
def test_each_range_has_its_own_resistance(kits, level: int, resistance: float) -> None:
    kits.append(plug_in(words(100, level, 2000).tobytes()))
    x = 4 * 100 * 1.8 / 163840 / resistance
    assert taken(kits[0][1], 2000).power_w == pytest.approx(3.3 * x * (1 + x), rel=1e-9)


def test_times_are_ten_microseconds_apart_and_end_when_the_samples_arrived(kits) -> None:
    kits.append(plug_in(words(500, 3, N).tobytes()))
    found = taken(kits[0][1], N)
    # pieces that come sooner than those before move the anchor back, never forth
    steps = np.diff(found.t_s)
    assert np.median(steps) == pytest.approx(1e-5, rel=1e-6)
    assert found.t_s[-1] <= time.monotonic()
    assert time.monotonic() - found.t_s[-1] < 5


def test_logic_inputs_are_the_marker(kits) -> None:
    """D0 is high from sample 5,000 to 14,999."""
    kits.append(plug_in(words(500, 3, N, logic=lambda i: 1 if 5000 <= i < 15_000 else 0).tobytes()))
    marker = taken(kits[0][1], N).marker
    assert np.flatnonzero(np.diff(marker.astype(int))).tolist() == [4999, 14_999]


def test_lost_samples_are_counted_and_leave_a_gap_in_the_times(kits) -> None:
    """Of the samples 1000 to 1019, nothing arrives."""
    every = words(500, 3, 3000)
    kits.append(plug_in(np.delete(every, np.arange(1000, 1020)).tobytes(), piece=1 << 20))
    found = taken(kits[0][1], 2980)
    assert found.n_dropped == 20
    assert len(found.power_w) == 2980
    gap = np.diff(found.t_s)[999]
    assert gap == pytest.approx(21e-5, rel=1e-6)


def test_bytes_lost_in_the_middle_cost_a_few_samples_and_no_wrong_power(kits) -> None:
    content = words(9251, 3, 6000).tobytes()
    kits.append(plug_in(content[:8002] + content[8003:], piece=8002))
    found = taken(kits[0][1], 5900, timeout_s=3)
    assert len(found.power_w) > 3900
    right = np.isclose(found.power_w, 3.3 * CURRENT_A, rtol=1e-4)
    assert np.mean(right) > 0.99


def test_the_supply_is_set_before_the_device_gets_it(kits) -> None:
    """3300 mV are 0x0CE4; source mode is 2."""
    kits.append(plug_in(words(500, 3, 100).tobytes()))
    kit, _ = kits[0]
    time.sleep(0.1)
    assert kit.received.index(b"\x0d\x0c\xe4") < kit.received.index(b"\x11\x02")
    assert kit.received.index(b"\x11\x02") < kit.received.index(b"\x0c\x01")


def test_it_can_be_started_again_after_a_stop(kits) -> None:
    kits.append(plug_in(words(9251, 3, 2000).tobytes()))
    kit, meter = kits[0]
    for _ in range(3):
        assert taken(meter, 2000).power_w[-1] == pytest.approx(3.3 * CURRENT_A, rel=1e-4)
    assert kit.received.count(b"\x06") == 3


def test_unplugged_in_the_middle_is_an_error_that_says_so() -> None:
    kit, meter = plug_in(words(500, 3, 1000).tobytes())
    kit.unplug_when_sent = True
    with pytest.raises(MeterError, match=r"PPK2 at .*: unplugged\?|no samples for 1 s"):
        taken(meter, N)
    meter.close()


def test_a_kit_that_stops_sending_is_an_error(kits) -> None:
    kits.append(plug_in(b""))
    with pytest.raises(MeterError, match="no samples for 1 s"):
        taken(kits[0][1], 1)


def test_a_device_that_answers_nothing_is_no_kit_and_the_error_says_what_to_try() -> None:
    silent = Ppk2Emulator(b"", silent=True)
    with pytest.raises(MeterError, match="does not answer as a PPK2") as error:
        Ppk2(port=silent.port, voltage_v=3.3)
    assert "try the other" in error.value.fix
    silent.unplug()


def test_a_missing_port_is_named() -> None:
    with pytest.raises(MeterError, match="there is no /dev/ttyACM99"):
        Ppk2(port="/dev/ttyACM99", voltage_v=3.3)


@pytest.mark.parametrize("voltage_v", [0.5, 5.1])
def test_a_voltage_it_cannot_supply_is_refused(voltage_v: float) -> None:
    with pytest.raises(MeterError, match=r"voltage_v: wanted 0\.8 to 5 V"):
        Ppk2(port="/dev/null", voltage_v=voltage_v)
