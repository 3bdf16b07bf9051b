"""The driver against a shield on a pseudo terminal."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from targets.meters import MeterError, PowerSampler, PowerSamples
from targets.meters.lpm01a import Lpm01a
from tests.unit.targets.meters.lpm01a_emulator import Lpm01aEmulator

# 4125e-08 J in each of 1,000 periods a second are 41.25 mW, 12.5 mA at 3.3 V
ENERGY, POWER_W = "4125-08", 41.25e-3

Plug = Callable[..., Lpm01aEmulator]


@pytest.fixture
def plug_in() -> Iterator[Plug]:
    shields: list[Lpm01aEmulator] = []

    def plug(*args: object, **kwargs: object) -> Lpm01aEmulator:
        shields.append(Lpm01aEmulator(*args, **kwargs))  # type: ignore[arg-type]
        return shields[-1]

    yield plug
    for shield in shields:
        shield.unplug()


def taken(meter: Lpm01a, n: int) -> PowerSamples:
    """The first n samples, those that are lost included."""
    pieces: list[PowerSamples] = []
    stream = meter.stream()
    for samples in stream:
        pieces.append(samples)
        if sum(len(p.t_s) + p.n_dropped for p in pieces) >= n:
            break
    stream.close()  # type: ignore[attr-defined]
    return PowerSamples(
        np.concatenate([p.t_s for p in pieces]),
        np.concatenate([p.power_w for p in pieces]),
        np.concatenate([p.marker for p in pieces]),
        sum(p.n_dropped for p in pieces),
    )


def test_an_energy_of_a_period_is_a_mean_power_in_the_middle_of_it(plug_in: Plug) -> None:
    shield = plug_in(["TimeStamp: 000s 000ms, buff 00%", *[ENERGY] * 2000])
    meter = Lpm01a(port=shield.port, voltage_v=3.3)
    assert isinstance(meter, PowerSampler)
    begin = time.monotonic()
    found = taken(meter, 500)
    end = time.monotonic()
    assert found.power_w == pytest.approx(np.full(len(found.power_w), POWER_W), rel=1e-12)
    assert found.n_dropped == 0
    assert begin < found.t_s[0]
    assert found.t_s[-1] < end
    steps = np.diff(found.t_s)
    # slower than its own period by 0.02 % at most, faster where an arrival came sooner
    assert steps.min() > 0.49e-3
    assert steps.max() < 1.001e-3
    meter.close()
    time.sleep(0.1)
    assert shield.commands[-2:] == ["stop", "hrc"]


def test_the_manuals_example_is_read_as_the_manual_says(plug_in: Plug) -> None:
    """6409-07 is 640.9e-6; as joules in a period of 10 ms it is 64.09 mW."""
    shield = plug_in(["6409-07"] * 100, lines_per_s=100)
    meter = Lpm01a(port=shield.port, voltage_v=3.3, rate_hz=100)
    assert taken(meter, 20).power_w[0] == pytest.approx(64.09e-3, rel=1e-12)


def test_the_shield_is_told_voltage_rate_and_output_before_it_supplies(plug_in: Plug) -> None:
    shield = plug_in()
    Lpm01a(port=shield.port, voltage_v=1.8, rate_hz=5000).close()
    time.sleep(0.1)
    assert shield.commands == [
        "stop", "htc", "volt 1800m", "freq 5k", "acqmode dyn", "acqtime inf", "trigdelay 0",
        "trigsrc sw", "output energy", "format ascii_dec", "pwr on nostatus", "hrc",
    ]  # fmt: skip


def test_a_line_may_hold_several_values_and_a_zero_byte(plug_in: Plug) -> None:
    shield = plug_in(["TimeStamp: 1s 0ms, buff 1%", "\0" + ENERGY, *["6409-076410-07"] * 900], 500)
    found = taken(Lpm01a(port=shield.port, voltage_v=3.3), 300)
    assert found.power_w[0] == pytest.approx(POWER_W)
    assert sorted({round(p, 6) for p in found.power_w[1:]}) == [0.6409, 0.6410]
    assert found.n_dropped == 0


def test_a_falling_edge_on_d7_turns_the_marker_over_where_it_is_wanted(plug_in: Plug) -> None:
    lines = [*[ENERGY] * 100, "event 1 ris", *[ENERGY] * 100, "event 2 ris", *[ENERGY] * 800]
    shield = plug_in(lines)
    marked = Lpm01a(port=shield.port, voltage_v=3.3, marker_input="d7")
    marker = taken(marked, 400).marker
    assert np.flatnonzero(np.diff(marker.astype(int))).tolist() == [99, 199]
    assert marked.info.markers
    assert "eventsrc d7 fal" in shield.commands
    marked.close()
    plain = Lpm01a(port=shield.port, voltage_v=3.3)
    assert not taken(plain, 400).marker.any()
    assert not plain.info.markers


def test_a_value_that_cannot_be_read_is_lost_and_keeps_its_place(plug_in: Plug) -> None:
    lines = [*[ENERGY] * 100, "41\xff5-08", "4125", *[ENERGY] * 900]
    found = taken(Lpm01a(port=plug_in(lines).port, voltage_v=3.3), 400)
    assert found.n_dropped == 2
    steps = np.diff(found.t_s)
    assert int(np.argmax(steps)) == 99
    # three periods, or half of that where the clock has to be set back
    assert 1.5e-3 < steps[99] < 3.01e-3


@pytest.mark.parametrize(
    "message", ["error: Data stream buffer overflow", "end", "overcurrent", "Acquisition completed"]
)
def test_what_ends_an_acquisition_is_an_error_with_what_to_do(plug_in: Plug, message: str) -> None:
    shield = plug_in([*[ENERGY] * 50, message])
    with pytest.raises(MeterError, match=message) as error:
        taken(Lpm01a(port=shield.port, voltage_v=3.3), 10_000)
    assert "lower rate_hz" in error.value.fix


def test_a_refused_command_is_named_with_the_reason(plug_in: Plug) -> None:
    shield = plug_in(refuses=lambda command: command.startswith("volt"))
    with pytest.raises(MeterError, match="refused 'volt 3300m': Error detail: argument out of"):
        Lpm01a(port=shield.port, voltage_v=3.3)


def test_a_shield_that_was_left_sending_is_stopped_first(plug_in: Plug) -> None:
    shield = plug_in([ENERGY] * 100_000)
    first = Lpm01a(port=shield.port, voltage_v=3.3)
    stream = first.stream()
    next(stream)
    first._port.close()  # as when its process is killed
    second = Lpm01a(port=shield.port, voltage_v=3.3)
    assert taken(second, 100).power_w[0] == pytest.approx(POWER_W)


def test_it_can_be_started_again_after_a_stop(plug_in: Plug) -> None:
    shield = plug_in([ENERGY] * 100_000)
    meter = Lpm01a(port=shield.port, voltage_v=3.3)
    for _ in range(3):
        assert taken(meter, 150).n_dropped == 0
    assert shield.commands.count("start") == 3


@pytest.mark.parametrize("answer", [True, False])
def test_a_shield_that_stops_sending_is_an_error_after_empty_pieces(
    plug_in: Plug, answer: bool
) -> None:
    meter = Lpm01a(port=plug_in([ENERGY] * 20 * answer).port, voltage_v=3.3)
    sizes: list[int] = []
    with pytest.raises(MeterError, match="no samples for 1 s"):
        sizes.extend(len(samples.t_s) for samples in meter.stream())
    assert len(sizes) >= 5
    assert sizes[-1] == 0


def test_a_device_that_answers_nothing_is_no_shield(plug_in: Plug) -> None:
    with pytest.raises(MeterError, match="no answer to 'htc'") as error:
        Lpm01a(port=plug_in(silent=True).port, voltage_v=3.3)
    assert "is it the shield's port?" in error.value.fix


def test_unplugged_in_the_middle_is_an_error(plug_in: Plug) -> None:
    shield = plug_in([ENERGY] * 10_000, unplugged_after_s=0.15)
    meter = Lpm01a(port=shield.port, voltage_v=3.3)
    with pytest.raises(MeterError, match=rf"LPM01A at {shield.port}: unplugged\?"):
        taken(meter, 10_000)
    meter.close()


@pytest.mark.parametrize("voltage_v", [1.7, 5.0])
def test_a_voltage_it_cannot_supply_is_refused(voltage_v: float) -> None:
    with pytest.raises(MeterError, match=r"voltage_v: wanted 1\.8 to 3\.3 V, got"):
        Lpm01a(port="/dev/null", voltage_v=voltage_v)
