"""A computer that draws what a process and its children compute: ``powercap_emulator.py ROOT``.

Keeps a sysfs tree with a RAPL package whose counter grows by an idle power, and by a dynamic
power while any descendant of the process in ``ROOT/pid`` is on a CPU. The kernel's own account
of CPU time decides, so that the truth does not depend on when this program gets to run.
"""

import os
import sys
import time
from pathlib import Path

import psutil

IDLE_W, DYNAMIC_W = 3.0, 6.0
RANGE_UJ = 262_143_328_850
# close to its end: the register wraps in the first seconds
START_UJ = RANGE_UJ - 10_000_000
PERIOD_S = 0.004
LOOK_S = 0.05


def cpu_s(pid: int) -> float:
    """Seconds that a process' threads were on a CPU."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def make_tree(root: Path) -> Path:
    zone = root / "class" / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    (zone / "energy_uj").write_text(f"{START_UJ:015d}\n")
    return zone / "energy_uj"


def main(root: Path) -> None:
    counter = os.open(root / "class" / "powercap" / "intel-rapl:0" / "energy_uj", os.O_WRONLY)
    seen: dict[int, float] = {}
    busy_s, looked, pids = 0.0, 0.0, []
    start = time.monotonic()
    while True:
        now = time.monotonic()
        if now - looked > LOOK_S:
            looked = now
            try:
                parent = psutil.Process(int((root / "pid").read_text()))
                pids = [parent.pid, *(p.pid for p in parent.children(recursive=True))]
            except (OSError, ValueError, psutil.NoSuchProcess):
                pids = []
        for pid in pids:
            try:
                used = cpu_s(pid)
            except (OSError, ProcessLookupError):
                continue
            busy_s += max(0.0, used - seen.get(pid, used))  # less when a thread has ended
            seen[pid] = used
        joules = IDLE_W * (now - start) + DYNAMIC_W * busy_s
        register = (START_UJ + int(joules * 1e6)) % RANGE_UJ
        os.pwrite(counter, f"{register:015d}\n".encode(), 0)
        time.sleep(PERIOD_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
