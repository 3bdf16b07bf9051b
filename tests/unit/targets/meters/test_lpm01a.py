"""The driver against a shield on a pseudo terminal."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from targets.meters import MeterError, PowerSampler, PowerSamples
from targets.meters.lpm01a import Lpm01a
from tests.unit.targets.meters.lpm01a_emulator import Lpm01aEmulator

# 6409e-07 J in each millisecond are 0.6409 W; more than the shield can, but as in its manual
ENERGY, POWER_W = "6409-07", 0.6409


@pytest.fixture
def shields() -> Iterator[list[Lpm01aEmulator]]:
    used: list[Lpm01aEmulator] = []
    yield used
    for shield in used:
        shield.unplug()


def taken(meter: Lpm01a, n: int) -> PowerSamples:
    pieces: list[PowerSamples] = []
    stream = meter.stream()
    for samples in stream:
        pieces.append(samples)
        if sum(len(p.t_s) for p in pieces) >= n:
            break
    stream.close()  # type: ignore[attr-defined]
    parts = ([getattr(p, name) for p in pieces] for name in ("t_s", "power_w", "marker"))
    return PowerSamples(*(np.concatenate(part) for part in parts))


def test_an_energy_of_a_period_is_a_mean_power_in_the_middle_of_it(shields) -> None:
    shields.append(Lpm01aEmulator(["TimeStamp: 000s 000ms, buff 00%", *[ENERGY] * 400], 1e-3))
    meter = Lpm01a(port=shields[0].port, voltage_v=3.3)
    assert isinstance(meter, PowerSampler)
    found = taken(meter, 300)
    assert found.power_w == pytest.approx(np.full(len(found.power_w), POWER_W))
    assert np.median(np.diff(found.t_s)) == pytest.approx(1e-3, rel=1e-6)
    assert found.t_s[-1] < time.monotonic()
    meter.close()
    time.sleep(0.1)
    assert shields[0].commands[-2:] == ["stop", "hrc"]


def test_the_shield_is_told_voltage_rate_and_output_before_it_supplies(shields) -> None:
    shields.append(Lpm01aEmulator())
    Lpm01a(port=shields[0].port, voltage_v=1.8, rate_hz=5000).close()
    assert shields[0].commands[:10] == [
        "htc", "volt 1800m", "acqtime inf", "trigdelay 0", "trigsrc sw", "eventsrc d7 fal",
        "output energy", "format ascii_dec", "freq 5000", "pwr on nostatus",
    ]  # fmt: skip


def test_a_line_may_hold_several_values(shields) -> None:
    shields.append(Lpm01aEmulator(["6409-076410-07"] * 200, 2e-3))
    found = taken(Lpm01a(port=shields[0].port, voltage_v=3.3), 100)
    assert sorted({round(p, 6) for p in found.power_w}) == [0.6409, 0.6410]


def test_an_edge_on_d7_turns_the_marker_over(shields) -> None:
    lines = [*[ENERGY] * 100, "event 001 fal", *[ENERGY] * 100, "event 002 fal", *[ENERGY] * 200]
    shields.append(Lpm01aEmulator(lines, 1e-3))
    marker = taken(Lpm01a(port=shields[0].port, voltage_v=3.3), 400).marker
    assert np.flatnonzero(np.diff(marker.astype(int))).tolist() == [99, 199]


def test_an_overrun_is_an_error_with_what_to_do(shields) -> None:
    shields.append(Lpm01aEmulator([*[ENERGY] * 50, "error: buffer overflow"], 1e-3))
    with pytest.raises(MeterError, match="buffer overflow") as error:
        taken(Lpm01a(port=shields[0].port, voltage_v=3.3), 10_000)
    assert error.value.fix == "lower rate_hz"


def test_a_refused_command_is_named(shields) -> None:
    shields.append(Lpm01aEmulator(refuses=lambda command: command.startswith("volt")))
    with pytest.raises(MeterError, match="refused 'volt 3300m'"):
        Lpm01a(port=shields[0].port, voltage_v=3.3)


def test_a_device_that_answers_nothing_is_no_shield(shields) -> None:
    shields.append(Lpm01aEmulator(silent=True))
    with pytest.raises(MeterError, match="no answer to 'htc'"):
        Lpm01a(port=shields[0].port, voltage_v=3.3)


def test_a_shield_that_stops_sending_is_an_error(shields) -> None:
    shields.append(Lpm01aEmulator([ENERGY] * 20, 1e-3))
    with pytest.raises(MeterError, match="no samples for 2 s"):
        taken(Lpm01a(port=shields[0].port, voltage_v=3.3), 10_000)


def test_unplugged_in_the_middle_is_an_error() -> None:
    shield = Lpm01aEmulator([ENERGY] * 50, 1e-3)
    shield.unplug_when_sent = True
    meter = Lpm01a(port=shield.port, voltage_v=3.3)
    with pytest.raises(MeterError, match=r"unplugged\?|no samples"):
        taken(meter, 10_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voltage_v": 5.0}, r"voltage_v: wanted 1\.8 to 3\.3 V, got 5"),
        ({"voltage_v": 3.3, "rate_hz": 3}, "rate_hz: wanted one of"),
    ],
)
def test_what_the_shield_cannot_do_is_refused(options, message: str) -> None:
    with pytest.raises(MeterError, match=message):
        Lpm01a(port="/dev/null", **options)
