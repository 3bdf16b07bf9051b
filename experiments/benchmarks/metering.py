"""What reading a meter costs the process that is measured: latency with and without, alternated.

The meters are emulated (files that do not change, a PPK2 on a pseudo terminal), so that only the
reading counts. The ratio is that of the medians of alternated loops; the CPU share is that of the
process that reads.

    python experiments/benchmarks/metering.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

import targets
from targets import Artifact
from targets.meter_link import MeterSet
from targets.spec import MeterSpec
from targets.testing import small_model

_LOOP_S = 0.5


def fake_tree(root: Path) -> None:
    """Make a RAPL package and an INA3221 whose values never change."""
    files = {
        "powercap/intel-rapl:0/name": "package-0",
        "powercap/intel-rapl:0/energy_uj": "1000000",
        "powercap/intel-rapl:0/max_energy_range_uj": "262143328850",
        "hwmon/hwmon0/name": "ina3221",
        "hwmon/hwmon0/in1_label": "VDD_IN",
        "hwmon/hwmon0/in1_input": "5032",
        "hwmon/hwmon0/curr1_input": "912",
    }
    for name, text in files.items():
        path = root / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


_EMULATED = """
import time
from tests.unit.targets.meters.ppk2_emulator import Ppk2Emulator, words
kit = Ppk2Emulator(words(9251, 3, 200_000).tobytes())
print(kit.port, flush=True)
time.sleep(1e6)
"""


@contextmanager
def ppk2() -> Iterator[MeterSpec]:
    """Emulate a PPK2 that sends 100,000 samples a second, in a process of its own."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _EMULATED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        if process.stdout is None:
            raise RuntimeError("not a pipe")
        options = {"port": process.stdout.readline().strip(), "voltage_v": 3.3}
        yield MeterSpec.model_validate({"kind": "ppk2", **options})
        process.kill()


def _spec(kind: str, root: Path, **options: str | float) -> MeterSpec:
    return MeterSpec.model_validate({"kind": kind, "root": str(root), **options})


def cost(spec: MeterSpec, loops: int) -> tuple[float, float]:
    """Return the ratio of latencies with and without reading, and the reader's CPU share."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with targets.create("host-onnxruntime") as target:
        artifact = target.compile(small_model())
        if not isinstance(artifact, Artifact):
            raise RuntimeError(artifact.message)
        inputs = [np.zeros(shape, np.float32) for shape in artifact.input_shapes]
        with target._open(artifact, 600) as loaded, MeterSet([spec]) as meters:  # type: ignore[attr-defined]
            typical_s = float(np.median(loaded.time(inputs, 200)))
            n = round(_LOOP_S / 10 / typical_s)
            process = psutil.Process(meters.links[0]._channel._process.pid)  # type: ignore[attr-defined]
            busy_s = wall_s = 0.0
            for _ in range(loops):
                for reading in (True, False):
                    if reading:
                        meters.start()
                        before, start = process.cpu_times(), time.monotonic()
                    seconds[reading] += loaded.loop(inputs, n, 10)
                    if reading:
                        after = process.cpu_times()
                        busy_s += after.user + after.system - before.user - before.system
                        wall_s += time.monotonic() - start
                        meters.stop()
    return float(np.median(seconds[True]) / np.median(seconds[False])), busy_s / wall_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loops", type=int, default=20, help="of half a second, each way")
    arguments = parser.parse_args()
    print(f"{'meter':38} latency with / without   CPU of the reader")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fake_tree(root)
        rows = {
            "RAPL, ten readings a second": _spec("rapl", root),
            "INA3221, every 10 ms": _spec("hwmon", root, chip="ina3221", label="VDD_IN"),
        }
        for name, spec in rows.items():
            ratio, share = cost(spec, arguments.loops)
            print(f"{name:38} {ratio:22.4f} {share:18.1%}", flush=True)
    with ppk2() as spec:
        ratio, share = cost(spec, arguments.loops)
        print(f"{'PPK2, 100,000 samples a second':38} {ratio:22.4f} {share:18.1%}")


if __name__ == "__main__":
    main()
