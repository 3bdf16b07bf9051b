"""What meters are read from, without the meters: files, a command, a driver's module."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pynvml

RANGE_UJ = 262_143_328_850  # of a Core processor's register, 2^32 - 1 units of 2^-14 J


class Zone:
    """A powercap zone as Linux shows it; children lie beside their parents, as in sysfs."""

    def __init__(
        self, root: Path, number: str, name: str, start_uj: int = 0, range_uj: int = RANGE_UJ
    ) -> None:
        self.folder = root / "class" / "powercap" / number
        self.folder.mkdir(parents=True, exist_ok=True)
        self.range_uj = range_uj
        (self.folder / "name").write_text(f"{name}\n")
        (self.folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        self.set(start_uj)

    def set(self, energy_uj: int) -> None:
        self.energy_uj = energy_uj
        (self.folder / "energy_uj").write_text(f"{energy_uj}\n")

    def draw(self, uj: int) -> None:
        self.set((self.energy_uj + uj) % self.range_uj)


JETSON = {
    "name": "ina3221",
    "in1_label": "VDD_IN",
    "in2_label": "VDD_CPU_GPU_CV",
    "in3_label": "VDD_SOC",
    "in1_input": 5032,
    "curr1_input": 912,
    "shunt1_resistor": 5000,
    "in2_input": 5024,
    "curr2_input": 200,
    "shunt2_resistor": 5000,
    "in3_input": 5024,
    "curr3_input": 300,
    "shunt3_resistor": 5000,
    # shunt voltages in microvolts and the sum of currents: no rails
    "in4_input": 4560,
    "in5_input": 1000,
    "in6_input": 1500,
    "in7_label": "sum of shunt voltages",
    "in7_input": 7060,
    "curr4_input": 1412,
    "samples": 1,
    "update_interval": 7,
}


def add_sensor(
    root: Path, number: int, files: Mapping[str, object], address: str = "1-0040"
) -> Path:
    """Make a sensor as hwmon shows it: its folder links to its device on the bus."""
    device = root / "devices" / "i2c-1" / address
    device.mkdir(parents=True)
    folder = root / "class" / "hwmon" / f"hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(device)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")
    return folder


class NvmlDriver(ModuleType):
    """Stands for the module ``pynvml`` and an NVIDIA driver, after NVML's reference manual.

    Functions raise the errors of the real module.
    """

    NVMLError = pynvml.NVMLError

    def __init__(self, counters_mj: list[int]) -> None:
        super().__init__("pynvml")
        self.counters_mj = counters_mj
        self.loaded = True
        self.supported = True
        self.n_users = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.loaded:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        self.n_users += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        if self.n_users == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        self.n_users -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.counters_mj)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if not 0 <= index < len(self.counters_mj):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return b"NVIDIA T4"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if not self.loaded:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if not self.supported:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self.counters_mj[handle]


# an output of a Raspberry Pi 5 under load, as published; the powers were computed by hand
PMIC_OUTPUT = """\
     3V7_WL_SW_A current(0)=0.05855580A
       3V3_SYS_A current(1)=0.06148359A
       1V8_SYS_A current(2)=0.13272650A
      DDR_VDD2_A current(3)=0.13955800A
      DDR_VDDQ_A current(4)=0.00980400A
       1V1_SYS_A current(5)=0.19811380A
        0V8_SW_A current(6)=0.34157550A
      VDD_CORE_A current(7)=5.03652000A
       3V3_DAC_A current(17)=0.00006105A
       3V3_ADC_A current(18)=0.00054945A
       0V8_AON_A current(16)=0.00531135A
          HDMI_A current(22)=0.02161170A
     3V7_WL_SW_V volt(8)=3.61069200V
       3V3_SYS_V volt(9)=3.29982600V
       1V8_SYS_V volt(10)=1.81684800V
      DDR_VDD2_V volt(11)=1.10109800V
      DDR_VDDQ_V volt(12)=0.60366240V
       1V1_SYS_V volt(13)=1.10292900V
        0V8_SW_V volt(14)=0.80292960V
      VDD_CORE_V volt(15)=0.89369880V
       3V3_DAC_V volt(20)=3.29944700V
       3V3_ADC_V volt(21)=3.30402600V
       0V8_AON_V volt(19)=0.79618980V
          HDMI_V volt(23)=4.92450000V
         EXT5V_V volt(24)=4.92450000V
          BATT_V volt(25)=0.00341880V
"""
PMIC_RAILS_W = {
    "3V7_WL_SW": 0.211427,
    "3V3_SYS": 0.202885,
    "1V8_SYS": 0.241144,
    "DDR_VDD2": 0.153667,
    "DDR_VDDQ": 0.005918,
    "1V1_SYS": 0.218505,
    "0V8_SW": 0.274261,
    "VDD_CORE": 4.501132,
    "3V3_DAC": 0.000201,
    "3V3_ADC": 0.001815,
    "0V8_AON": 0.004229,
    "HDMI": 0.106427,
}


class Pi5:
    """A command ``vcgencmd`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.command = folder / "vcgencmd"
        self.output = folder / "output"
        self.command.write_text(f'#!/bin/sh\n[ "$1" = pmic_read_adc ] && cat {self.output}\n')
        self.command.chmod(0o755)
        self.output.write_text(PMIC_OUTPUT)


RECORDING = "t_s,power_w\n0.00,1.5\n0.01,1.5\n0.02,1.5\n"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


class MeterSoftware(threading.Thread):
    """Appends what a meter measures to a file, by a clock of its own that is 1000 s ahead.

    Args:
        path: Of the file.
        n_rows: That are written at once.
        powers_w: That it measures, again and again.
    """

    def __init__(self, path: Path, n_rows: int, powers_w: tuple[float, ...]) -> None:
        super().__init__(daemon=True)
        self._path, self._n_rows, self._powers_w = path, n_rows, powers_w
        self._stop_it = threading.Event()
        self.measured: list[tuple[float, float]] = []

    def run(self) -> None:
        rows = ""
        while not self._stop_it.wait(0.002):
            now_s = time.monotonic()
            power_w = self._powers_w[len(self.measured) % len(self._powers_w)]
            self.measured.append((now_s, power_w))
            rows += f"{now_s + 1000!r},{power_w}\n"
            if len(self.measured) % self._n_rows == 0:
                append(self._path, rows)
                rows = ""

    def stop(self) -> None:
        self._stop_it.set()
        self.join()
