"""What every meter must do, as test classes for pytest.

Subclass the one that fits, give it a meter with something behind it whose power is known,
emulated or real, and run pytest::

    class TestMyMeter(PowerSamplerTestCase):
        power_w = 1.65

        def make_meter(self, folder: Path) -> PowerSampler:
            return MyMeter(port=emulator(folder).port)

Call ``pytest.register_assert_rewrite`` with this module's name in a ``conftest.py``
to see the values of a failed assertion.
"""

from __future__ import annotations

import inspect
import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from targets.meters._types import (
    EnergyCounter,
    MeterError,
    MeterInfo,
    PowerMeter,
    PowerSampler,
    PowerSamples,
)

M = TypeVar("M", bound=PowerMeter)

_PATIENCE_S = 30.0
"""Until a thread counts as stuck: nothing is timed here."""

_N_SAMPLES = 60


class MeterTestCase(Generic[M]):
    """What counters and samplers have in common; a subclass provides `make_meter`."""

    def make_meter(self, folder: Path) -> M:
        """Return the meter under test; the folder is empty, and for whatever it needs."""
        raise NotImplementedError("override make_meter")

    @pytest.fixture
    def meter(self, tmp_path: Path) -> Iterator[M]:
        """Return the meter under test, opened anew for each test."""
        meter = self.make_meter(tmp_path)
        yield meter
        meter.close()

    def test_its_figures_are_possible(self, meter: M) -> None:
        """Positive where they must be; in one line where they are for people."""
        info = meter.info
        for text in (info.rail, info.scope, info.source):
            assert text.strip()
            assert "\n" not in text
        for positive in (info.update_period_s, info.resolution, info.bandwidth_hz):
            assert 0 < positive < math.inf
        assert 0 <= info.gain_error < 1
        assert 0 <= info.offset_error_w < math.inf
        for known in (info.range_w, info.voltage_v):
            assert known is None or 0 < known < math.inf

    def test_what_it_says_of_itself_can_be_sent_as_json(self, meter: M) -> None:
        """It runs in another process, or on another computer."""
        sent = json.dumps(asdict(meter.info), allow_nan=False)
        assert MeterInfo(**json.loads(sent)) == meter.info

    def test_its_options_can_be_written_in_a_target_s_file(self, meter: M) -> None:
        """Keyword arguments of plain types, as `targets.meters.registry` checks them."""
        parameters = inspect.signature(type(meter)).parameters
        hints = get_type_hints(type(meter).__init__)
        for name, parameter in parameters.items():
            assert parameter.kind is parameter.KEYWORD_ONLY, name
            hint = hints[name]
            choices = (hint,) if get_origin(hint) is Literal else get_args(hint) or (hint,)
            plain = (str, int, float, bool, type(None))
            assert all(c in plain or get_origin(c) is Literal for c in choices), name

    def test_closing_it_twice_is_closing_it(self, meter: M) -> None:
        """Whoever cleans up need not know who did before."""
        meter.close()
        meter.close()


class EnergyCounterTestCase(MeterTestCase[EnergyCounter]):
    """The contract of `EnergyCounter`; a subclass provides `make_meter` and `draw`."""

    def draw(self, joules: float) -> None:
        """Have what is behind the meter draw this energy, besides what it always draws."""
        raise NotImplementedError("override draw")

    def test_it_is_a_counter(self, meter: EnergyCounter) -> None:
        """And says so."""
        assert isinstance(meter, EnergyCounter)
        assert meter.info.counts
        assert meter.info.averages
        assert meter.wrap_s > 0

    def test_it_counts_what_is_drawn(self, meter: EnergyCounter) -> None:
        """Within its own errors: its gain, and its resolution at either end."""
        before_j, began_s = meter.joules(), time.monotonic()
        for joules in (0.5, 1.25, 2.0):
            self.draw(joules)
        info = meter.info
        allowed_j = (
            2 * info.resolution
            + 3.75 * info.gain_error
            + info.offset_error_w * (time.monotonic() - began_s)
        )
        assert meter.joules() - before_j == pytest.approx(3.75, abs=allowed_j)

    def test_it_never_decreases(self, meter: EnergyCounter) -> None:
        """Whether something is drawn between two readings or not."""
        rng = np.random.default_rng(0)
        seen = meter.joules()
        assert seen >= 0
        for _ in range(50):
            if rng.random() < 0.5:
                self.draw(float(rng.uniform(0, 3)))
            now = meter.joules()
            assert now >= seen
            seen = now


class PowerSamplerTestCase(MeterTestCase[PowerSampler]):
    """The contract of `PowerSampler`; a subclass provides `make_meter`.

    Attributes:
        power_w: What is behind the meter draws this all the time.
    """

    power_w: float

    def test_it_is_a_sampler(self, meter: PowerSampler) -> None:
        """And no counter."""
        assert isinstance(meter, PowerSampler)
        assert not isinstance(meter, EnergyCounter)
        assert not meter.info.counts

    def test_it_shows_the_power_behind_it(self, meter: PowerSampler) -> None:
        """Within its own errors: of gain and at no power, and its resolution."""
        pieces = _read(meter.stream(), _N_SAMPLES)
        power_w = np.concatenate([piece.power_w for piece in pieces])
        info = meter.info
        allowed_w = info.resolution + info.offset_error_w + info.gain_error * self.power_w
        assert power_w.mean() == pytest.approx(self.power_w, abs=allowed_w)

    def test_its_pieces_are_arrays_of_one_length_and_known_types(self, meter: PowerSampler) -> None:
        """Finite numbers; no marker where it has none."""
        for piece in _read(meter.stream(), _N_SAMPLES):
            assert piece.t_s.shape == piece.power_w.shape == piece.marker.shape
            assert piece.t_s.ndim == 1
            assert piece.t_s.dtype == piece.power_w.dtype == np.float64
            assert piece.marker.dtype == np.uint8
            assert np.isfinite(piece.t_s).all()
            assert np.isfinite(piece.power_w).all()
            assert meter.info.markers or not piece.marker.any()
            assert piece.n_dropped >= 0

    def test_its_times_increase_and_are_this_process_s(self, meter: PowerSampler) -> None:
        """Of its monotonic clock, as well as the guard around each window of a measurement.

        A meter whose clock is its own is known by when its samples arrive.
        """
        guard_s = max(0.05, 2 * meter.info.update_period_s)
        began_s = time.monotonic()
        arrived: list[float] = []
        pieces = []
        for piece in _pieces(meter.stream(), _N_SAMPLES):
            pieces.append(piece)
            arrived += [time.monotonic()] * len(piece.t_s)
        t_s = np.concatenate([piece.t_s for piece in pieces])
        assert np.all(np.diff(t_s) > 0)
        assert t_s[0] > began_s - guard_s
        assert np.all(t_s < np.array(arrived) + guard_s)

    def test_it_can_be_streamed_again(self, meter: PowerSampler) -> None:
        """One stream for each trial of a measurement."""
        last_s = -math.inf
        for _ in range(3):
            stream = meter.stream()
            pieces = _read(stream, 5)
            if close := getattr(stream, "close", None):
                close()
            t_s = np.concatenate([piece.t_s for piece in pieces])
            assert t_s[0] > last_s
            last_s = float(t_s[-1])

    def test_closing_it_ends_a_stream_that_another_thread_reads(self, meter: PowerSampler) -> None:
        """By its end or an error of one line, but it ends."""
        began, errors = threading.Event(), []

        def read() -> None:
            try:
                for _ in meter.stream():
                    began.set()
            except MeterError as error:
                errors.append(str(error))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        assert began.wait(_PATIENCE_S)
        meter.close()
        thread.join(_PATIENCE_S)
        assert not thread.is_alive()
        assert all("\n" not in error for error in errors)


def _pieces(stream: Iterator[PowerSamples], n: int) -> Iterator[PowerSamples]:
    """Yield pieces until there were so many samples."""
    while n > 0:
        piece = next(stream)
        n -= len(piece.t_s)
        yield piece


def _read(stream: Iterator[PowerSamples], n: int) -> list[PowerSamples]:
    return list(_pieces(stream, n))
