import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from targets.meters import PowerSampler
from targets.meters.joulescope import Joulescope
from targets.meters.lpm01a import Lpm01a
from targets.meters.ppk2 import Ppk2
from targets.meters.testing import PowerSamplerTestCase
from tests.unit.targets.meters.joulescope_emulator import Instrument
from tests.unit.targets.meters.lpm01a_emulator import Lpm01aEmulator
from tests.unit.targets.meters.ppk2_emulator import Ppk2Emulator, words


class TestPpk2(PowerSamplerTestCase):
    """Reading 9251 in range 3 of the nominal calibration: 0.619533 A."""

    power_w = 3.3 * 0.619533

    @pytest.fixture(autouse=True)
    def _kit(self) -> Iterator[None]:
        self.kit = Ppk2Emulator(words(9251, 3, 64).tobytes() * 10_000)
        yield
        self.kit.unplug()

    def make_meter(self, folder: Path) -> PowerSampler:
        # compared with a resistor: its maker's 15 % would let everything pass
        return Ppk2(port=self.kit.port, voltage_v=3.3, gain_error=1e-6)


class TestLpm01a(PowerSamplerTestCase):
    """41.25 uJ in each millisecond."""

    power_w = 41.25e-3

    @pytest.fixture(autouse=True)
    def _shield(self) -> Iterator[None]:
        self.shield = Lpm01aEmulator(["4125-08"] * 100_000)
        yield
        self.shield.unplug()

    def make_meter(self, folder: Path) -> PowerSampler:
        return Lpm01a(port=self.shield.port, voltage_v=3.3, gain_error=0.0)


class TestJoulescope(PowerSamplerTestCase):
    power_w = 1.25

    @pytest.fixture(autouse=True)
    def _instrument(self, monkeypatch: pytest.MonkeyPatch) -> None:
        instrument = Instrument(power_w=self.power_w)
        monkeypatch.setitem(
            sys.modules,
            "joulescope",
            SimpleNamespace(scan=lambda name=None, config=None: [instrument]),
        )

    def make_meter(self, folder: Path) -> PowerSampler:
        return Joulescope(gain_error=0.0)
