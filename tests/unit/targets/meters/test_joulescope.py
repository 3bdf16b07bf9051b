"""The driver against an object with the documented interface of the maker's driver."""

import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from targets.meters import MeterError, PowerSampler, PowerSamples
from targets.meters.joulescope import Joulescope
from tests.unit.targets.meters.joulescope_emulator import RATE_HZ, Instrument


@pytest.fixture
def instruments(monkeypatch: pytest.MonkeyPatch) -> list[Instrument]:
    found = [Instrument()]
    monkeypatch.setitem(
        sys.modules, "joulescope", SimpleNamespace(scan=lambda name=None, config=None: [*found])
    )
    return found


def taken(meter: Joulescope, n: int) -> PowerSamples:
    """The first n samples, those that are lost included."""
    pieces: list[PowerSamples] = []
    stream = meter.stream()
    for samples in stream:
        pieces.append(samples)
        if sum(len(p.t_s) + p.n_dropped for p in pieces) >= n:
            break
    stream.close()  # type: ignore[attr-defined]
    return PowerSamples(
        *(np.concatenate([getattr(p, f) for p in pieces]) for f in ("t_s", "power_w", "marker")),
        n_dropped=sum(p.n_dropped for p in pieces),
    )


def test_samples_come_at_the_rate_it_was_set_to(instruments: list[Instrument]) -> None:
    meter = Joulescope(current_range="180 mA")
    assert isinstance(meter, PowerSampler)
    begin = time.monotonic()
    found = taken(meter, 4000)
    end = time.monotonic()
    assert np.all(found.power_w == 1.25)
    assert found.n_dropped == 0
    # only samples from after the start: those before are of another trial
    assert begin - 0.02 < found.t_s[0]
    assert found.t_s[-1] < end
    steps = np.diff(found.t_s)
    assert steps.min() > 0.49e-4
    assert steps.max() < 1.001e-4
    assert instruments[0].parameters["i_range"] == "180 mA"
    assert instruments[0].parameters["sampling_frequency"] == RATE_HZ
    assert meter.info.range_w == pytest.approx(0.18 * 15)
    meter.close()
    assert not instruments[0].is_open


@pytest.mark.parametrize(
    ("number", "parameter", "source", "samples"),
    [(0, "current_lsb", "gpi0", 1000), (1, "voltage_lsb", "gpi1", 500)],
)
def test_an_input_is_the_marker_where_it_is_wanted(
    instruments: list[Instrument], number: int, parameter: str, source: str, samples: int
) -> None:
    meter = Joulescope(marker_input=number)  # type: ignore[arg-type]
    marker = taken(meter, 3500).marker
    assert instruments[0].parameters[parameter] == source
    assert set(np.diff(np.flatnonzero(np.diff(marker.astype(int))))) == {samples}
    assert meter.info.markers


def test_without_a_marker_inputs_do_not_count(instruments: list[Instrument]) -> None:
    meter = Joulescope()
    assert not taken(meter, 3000).marker.any()
    assert not meter.info.markers


def test_samples_that_the_bus_lost_are_counted_and_keep_their_place(
    instruments: list[Instrument],
) -> None:
    instruments[0].lost = range(7_000_700, 7_000_740)
    found = taken(Joulescope(), 3000)
    assert found.n_dropped == 40
    assert np.isfinite(found.power_w).all()
    # 41 periods, or half of that where the clock has to be set back
    assert 20e-4 < np.diff(found.t_s).max() < 41.1e-4


def test_it_can_be_started_again_after_a_stop(instruments: list[Instrument]) -> None:
    meter = Joulescope()
    for _ in range(3):
        assert taken(meter, 1500).n_dropped == 0


def test_an_instrument_that_is_unplugged_is_an_error(instruments: list[Instrument]) -> None:
    instruments[0].unplugged_after_s = 0.2
    meter = Joulescope()
    with pytest.raises(MeterError, match=r"joulescope:JS220-000123: unplugged\?") as error:
        taken(meter, 100_000)
    assert "cable" in error.value.fix
    meter.close()


def test_an_instrument_that_sends_nothing_is_an_error_after_empty_pieces(
    instruments: list[Instrument],
) -> None:
    instruments[0].silent = True
    sizes: list[int] = []
    with pytest.raises(MeterError, match="no samples for 1 s"):
        sizes.extend(len(samples.t_s) for samples in Joulescope().stream())
    assert len(sizes) >= 5


def test_an_instrument_that_cannot_be_opened_is_named(
    instruments: list[Instrument], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_() -> None:
        raise RuntimeError("device open failed:\n-1")

    monkeypatch.setattr(instruments[0], "open", open_)
    with pytest.raises(MeterError, match="JS220-000123: device open failed: -1") as error:
        Joulescope()
    assert "udev" in error.value.fix


def test_small_currents_are_written_in_plain_letters(instruments: list[Instrument]) -> None:
    Joulescope(current_range="180 uA", voltage_range="2V")
    assert instruments[0].parameters["i_range"] == "180 µA"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "JS220-000123",
            {"voltage_range": "5V"},
            "JS220-000123 has no range '5V'; it is the JS110",
        ),
        ("JS220-000123", {"current_range": "2 A"}, "JS220-000123 has no range '2 A'"),
        (
            "JS110-000777",
            {"voltage_range": "2V"},
            "JS110-000777 has no range '2V'; it is the JS220",
        ),
    ],
)
def test_a_range_of_the_other_model_is_refused(
    instruments: list[Instrument], name: str, options: dict[str, Any], message: str
) -> None:
    instruments[0].name = name
    with pytest.raises(MeterError, match=message):
        Joulescope(**options)
    assert not instruments[0].is_open


def test_no_or_several_instruments_are_named(instruments: list[Instrument]) -> None:
    instruments.append(Instrument("JS110-000777", power_w=2.0))
    with pytest.raises(MeterError, match="found JS220-000123, JS110-000777") as error:
        Joulescope()
    assert "serial_number" in error.value.fix
    assert taken(Joulescope(serial_number="000777"), 10).power_w[0] == 2.0
    with pytest.raises(MeterError, match="wanted number 777, found JS220-000123"):
        Joulescope(serial_number="777")
    instruments.clear()
    with pytest.raises(MeterError, match="found none"):
        Joulescope()


def test_without_the_makers_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joulescope", None)
    with pytest.raises(MeterError, match="the package joulescope is missing") as error:
        Joulescope()
    assert "hwnas[meters]" in error.value.fix
