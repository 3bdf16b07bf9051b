import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.meters import EnergyCounter, PowerSampler
from targets.meters.hwmon import Hwmon
from targets.meters.nvml import Nvml
from targets.meters.pi_pmic import PiPmic
from targets.meters.rapl import Rapl
from targets.meters.testing import EnergyCounterTestCase, PowerSamplerTestCase
from targets.meters.trace import RecordedTrace
from tests.unit.targets.meters.emulators import (
    JETSON,
    PMIC_RAILS_W,
    RECORDING,
    MeterSoftware,
    NvmlDriver,
    Pi5,
    Zone,
    add_sensor,
)


class TestRapl(EnergyCounterTestCase):
    """Close to the end of its register: it wraps in between."""

    def make_meter(self, folder: Path) -> EnergyCounter:
        self.zone = Zone(folder, "intel-rapl:0", "package-0", start_uj=262_143_000_000)
        return Rapl(root=str(folder))

    def draw(self, joules: float) -> None:
        self.zone.draw(round(joules * 1e6))


class TestNvml(EnergyCounterTestCase):
    @pytest.fixture(autouse=True)
    def _driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.driver = NvmlDriver([9_000_000])
        monkeypatch.setitem(sys.modules, "pynvml", self.driver)

    def make_meter(self, folder: Path) -> EnergyCounter:
        return Nvml()

    def draw(self, joules: float) -> None:
        self.driver.counters_mj[0] += round(joules * 1e3)


class TestHwmon(PowerSamplerTestCase):
    power_w = 5.032 * 0.912

    def make_meter(self, folder: Path) -> PowerSampler:
        add_sensor(folder, 3, JETSON)
        return Hwmon(chip="ina3221", label="VDD_IN", root=str(folder))


class TestPiPmic(PowerSamplerTestCase):
    power_w = sum(PMIC_RAILS_W.values())

    def make_meter(self, folder: Path) -> PowerSampler:
        return PiPmic(command=str(Pi5(folder).command), period_s=0.01)


class TestRecordedTrace(PowerSamplerTestCase):
    power_w = 2.0

    @pytest.fixture(autouse=True)
    def _software(self, tmp_path: Path) -> Iterator[None]:
        path = tmp_path / "recording.csv"
        path.write_text(RECORDING)
        software = MeterSoftware(path, n_rows=1, powers_w=(2.0,))
        software.start()
        yield
        software.stop()

    def make_meter(self, folder: Path) -> PowerSampler:
        return RecordedTrace(path=str(folder / "recording.csv"))


@pytest.mark.parametrize("name", ["agent", "hwmon", "nvml", "pi_pmic", "rapl", "trace"])
def test_what_is_sent_to_a_board_needs_nothing_but_numpy(name: str) -> None:
    """All it imports on loading is Python's own, numpy, or sent with it; at any time, the last."""
    spec = importlib.util.find_spec(f"targets.meters.{name}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    at_once = {module for node in tree.body for module in imported(node)}
    allowed = sys.stdlib_module_names | {"numpy", "targets"}
    assert {module.split(".")[0] for module in at_once} <= allowed
    ever = {module for node in ast.walk(tree) for module in imported(node)}
    own = {module for module in ever if module.split(".")[0] in {"targets", "hwnas"}}
    assert all(module.startswith("targets.meters.") for module in own)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []
