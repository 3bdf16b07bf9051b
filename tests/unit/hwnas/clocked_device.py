"""A device whose latency and energy are known functions of its clock, on a folder like /sys."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from targets import (
    Artifact,
    EnergyConfig,
    EnergyMeasurement,
    EnergyObserver,
    Failure,
    Interval,
    TargetSpec,
)
from targets.cached_target import Arrays, Built, CachedTarget
from targets.cpu_clock import journal_name, pinned
from targets.device_files import LocalFiles
from targets.device_state import device_state
from targets.testing import FakeSystem, run_onnxruntime

Inputs = Sequence[NDArray[np.float32]]
CLOCKS_KHZ = (600_000, 900_000, 1_200_000, 1_500_000, 1_800_000)
CYCLES, MEMORY_S = 1.2e6, 4e-4
POLICY = "sys/devices/system/cpu/cpufreq/policy0"


def latency_s(khz: int) -> float:
    """A part that takes cycles and a part that waits for memory."""
    return CYCLES / (1e3 * khz) + MEMORY_S


def gross_j(khz: int) -> float:
    """1.2 W of the board, and a core that switches at a voltage that rises with the clock."""
    voltage_v = 0.5 + 0.35e-6 * khz
    return (1.2 + 1.1e-9 * voltage_v**2 * 1e3 * khz) * latency_s(khz)


def make_device(folder: Path) -> FakeSystem:
    """Make the device's files: one policy, at rest at its lowest clock."""
    system = FakeSystem(folder, n_cpus=1)
    system.add_policy(0, CLOCKS_KHZ[0], CLOCKS_KHZ[0], CLOCKS_KHZ[-1])
    system.write(f"{POLICY}/scaling_available_frequencies", " ".join(map(str, CLOCKS_KHZ)))
    return system


class CpufreqFiles(LocalFiles):
    """Follows the pinned clock as cpufreq does, up to what the device can keep.

    ``limit_khz`` in the folder limits it as heat would; ``read_only`` makes it refuse.
    """

    def write(self, path: str, text: str) -> None:
        if self.read("/read_only"):
            raise PermissionError(13, "Permission denied")
        super().write(path, text)
        highest = int(self.read(f"/{POLICY}/scaling_max_freq") or 0)
        limit = int(self.read("/limit_khz") or highest)
        super().write(f"/{POLICY}/scaling_cur_freq", str(min(highest, limit)))


class ClockedTarget(CachedTarget):
    """Runs models with ONNX Runtime and times them by `latency_s`.

    Args:
        spec: Its description.
        folder: Of the device's files.
        cache_dir: As for `targets.create`.
        hang_at_khz: At this clock, time stands still.
    """

    def __init__(
        self, spec: TargetSpec, folder: Path, cache_dir: Path, hang_at_khz: int = 0
    ) -> None:
        super().__init__(spec, "clocked", ".onnx", cache_dir)
        self.files = CpufreqFiles(folder)
        self._hang_at_khz = hang_at_khz
        self.timed = 0

    def close(self) -> None:
        """Do nothing: no process was started."""

    def _build(self, model: onnx.ModelProto, path: Path) -> Built:
        path.write_bytes(model.SerializeToString())
        return Built(1000, 2000, 0.0)

    @contextmanager
    def _open(self, artifact: Artifact, timeout_s: float) -> Iterator[_Session]:
        yield _Session(self, artifact)

    def clock_khz(self) -> int:
        """Return what cpufreq says, and hang if that was asked for."""
        khz = int(self.files.read(f"/{POLICY}/scaling_cur_freq") or 0)
        if khz == self._hang_at_khz:
            sys.stdout.write("hangs\n")
            sys.stdout.flush()
            time.sleep(600)
        return khz

    def measure_energy(
        self,
        artifacts: Sequence[Artifact],
        config: EnergyConfig = EnergyConfig(),
        *,
        fresh: bool = False,
        observer: EnergyObserver | None = None,
    ) -> list[EnergyMeasurement | Failure]:
        """Return `gross_j` at the clock the device runs at, with an interval of 1 %."""
        journal = self._cache.folder / "clocks" / journal_name(self.files)
        with pinned(self.files, self._spec.clock_khz, journal):
            state = device_state(self.files)
            energy_j = gross_j(self.clock_khz())
        power = Interval(1.2, 1.2, 1.2)
        return [
            EnergyMeasurement(
                target=self.name,
                model_sha256=artifact.model_sha256,
                artifact_sha256=artifact.sha256,
                gross_j=Interval(energy_j, 0.99 * energy_j, 1.01 * energy_j),
                net_j=None,
                net_refused="not known here",
                idle_power_w=power,
                active_power_w=power,
                peak_power_w=2.0,
                peak_bandwidth_hz=1000.0,
                trials=(),
                sustained=(),
                meters=(),
                config=config,
                provenance="emulated",
                device_state=state,
            )
            for artifact in artifacts
        ]


class _Session:
    address = ""

    def __init__(self, target: ClockedTarget, artifact: Artifact) -> None:
        self._target, self._artifact = target, artifact
        self.files = target.files

    def run(self, inputs: Inputs) -> Arrays:
        return run_onnxruntime(onnx.load(self._artifact.path), inputs)

    def time(self, inputs: Inputs, n_inferences: int) -> tuple[float, ...]:
        self._target.timed += 1
        return (latency_s(self._target.clock_khz()),) * n_inferences

    def loop(self, inputs: Inputs, n_per_block: int, n_blocks: int) -> tuple[float, ...]:
        return self.time(inputs, n_blocks)

    def meter_channel(self) -> None:
        return None
