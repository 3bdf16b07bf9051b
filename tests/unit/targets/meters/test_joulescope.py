"""The driver against an object with the documented interface of the maker's driver."""

import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from targets.meters import MeterError, PowerSampler, PowerSamples
from targets.meters.joulescope import Joulescope

RATE_HZ = 10_000


class Instrument:
    """As of joulescope 1.5: samples have numbers, and the newest 10 s of them are kept."""

    def __init__(self, name: str = "JS220-000123", power_w: float = 1.25) -> None:
        self.name, self.power_w = name, power_w
        self.parameters: dict[str, object] = {}
        self.is_open = False
        self.lost: set[int] = set()
        self.stop_after_s = float("inf")
        self._started: float | None = None
        self._stop_fn = None
        self.stream_buffer = self

    def __str__(self) -> str:
        return self.name

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def parameter_set(self, name: str, value: object) -> None:
        assert self.is_open
        self.parameters[name] = value

    def start(self, stop_fn=None) -> None:
        self._started, self._stop_fn = time.monotonic(), stop_fn

    def stop(self) -> None:
        self._started = None

    @property
    def sample_id_range(self) -> tuple[int | None, int | None]:
        passed = time.monotonic() - self._started
        if passed > self.stop_after_s and self._stop_fn:
            self._stop_fn(0, "device removed")
        end = int(passed * RATE_HZ)
        return (max(0, end - 10 * RATE_HZ), end) if end else (None, None)

    def samples_get(self, start: int, stop: int, fields: list[str]) -> dict[str, object]:
        power = np.full(stop - start, self.power_w, np.float32)
        for number in self.lost:
            if start <= number < stop:
                power[number - start] = np.nan
        lsb = (np.arange(start, stop) // 1000 % 2).astype(np.uint8)
        signals = {"power": {"value": power, "units": "W"}, "current_lsb": {"value": lsb}}
        return {"signals": {name: signals[name] for name in fields}}


@pytest.fixture
def instruments(monkeypatch: pytest.MonkeyPatch) -> list[Instrument]:
    found = [Instrument()]
    monkeypatch.setitem(
        sys.modules, "joulescope", SimpleNamespace(scan=lambda name=None, config=None: found)
    )
    return found


def taken(meter: Joulescope, n: int) -> PowerSamples:
    pieces: list[PowerSamples] = []
    stream = meter.stream()
    for samples in stream:
        pieces.append(samples)
        if sum(len(p.t_s) for p in pieces) >= n:
            break
    stream.close()  # type: ignore[attr-defined]
    return PowerSamples(
        *(np.concatenate([getattr(p, f) for p in pieces]) for f in ("t_s", "power_w", "marker")),
        n_dropped=sum(p.n_dropped for p in pieces),
    )


def test_samples_come_at_the_rate_it_was_set_to(instruments: list[Instrument]) -> None:
    meter = Joulescope(current_range="180 mA")
    assert isinstance(meter, PowerSampler)
    found = taken(meter, 2000)
    assert np.all(found.power_w == 1.25)
    assert np.median(np.diff(found.t_s)) == pytest.approx(1e-4, rel=1e-6)
    assert instruments[0].parameters["i_range"] == "180 mA"
    assert instruments[0].parameters["sampling_frequency"] == RATE_HZ
    assert meter.info.range_w == pytest.approx(0.18 * 15)
    meter.close()
    assert not instruments[0].is_open


def test_an_input_is_the_marker_where_it_is_wanted(instruments: list[Instrument]) -> None:
    """The input changes every 1,000 samples."""
    marker = taken(Joulescope(marker_input=True), 3500).marker
    assert instruments[0].parameters["current_lsb"] == "gpi0"
    assert set(np.diff(np.flatnonzero(np.diff(marker.astype(int))))) == {1000}


def test_samples_that_the_bus_lost_are_counted_and_left_out(instruments: list[Instrument]) -> None:
    instruments[0].lost = {700, 701, 702}
    found = taken(Joulescope(), 3000)
    assert found.n_dropped == 3
    assert np.isfinite(found.power_w).all()
    assert np.diff(found.t_s).max() == pytest.approx(4e-4, rel=0.3)  # anchors move a little


def test_an_instrument_that_is_unplugged_is_an_error(instruments: list[Instrument]) -> None:
    instruments[0].stop_after_s = 0.2
    with pytest.raises(MeterError, match=r"it stopped \(device removed\); unplugged"):
        taken(Joulescope(), 100_000)


def test_no_or_several_instruments_are_named(instruments: list[Instrument]) -> None:
    instruments.append(Instrument("JS110-000777", power_w=2.0))
    with pytest.raises(MeterError, match="found JS220-000123, JS110-000777") as error:
        Joulescope()
    assert "serial_number" in error.value.fix
    assert taken(Joulescope(serial_number="000777"), 10).power_w[0] == 2.0
    instruments.clear()
    with pytest.raises(MeterError, match="found none"):
        Joulescope()


def test_without_the_makers_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joulescope", None)
    with pytest.raises(MeterError, match="the package joulescope is missing") as error:
        Joulescope()
    assert "hwnas[meters]" in error.value.fix
