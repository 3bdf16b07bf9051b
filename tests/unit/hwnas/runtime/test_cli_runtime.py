"""The commands trace and simulate, from the command line's arguments to its output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwnas.cli import app
from hwnas.errors import UserError
from hwnas.runtime.trace import read_trace
from tests.unit.hwnas.tiny_bundle import TinyBundle

DAY = ("--interval-s", "60", "--burst-interval-s", "60", "--seed", "1")


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_made_up_day_is_simulated(tmp_path: Path) -> None:
    bundle = TinyBundle(tmp_path / "bundle").path
    day = tmp_path / "day.csv"
    made = json.loads(run("trace", day, *DAY, "--json"))
    assert made == {"path": str(day), "rows": 1440, "events": int(read_trace(day).event.sum())}
    product = tmp_path / "product.yaml"
    battery = "{capacity_mah: 220, voltage_v: 3}"
    product.write_text(f"product: {{interval_s: 60, sleep_power_mw: 0.1, battery: {battery}}}\n")
    found = json.loads(run("simulate", bundle, day, "--product", product, "--json"))
    # 0.9 mJ a minute and 0.1 mW asleep: 115 uW of 2,376 J
    assert found["policy"]["battery_days"] == pytest.approx(2376 / 115e-6 / 86_400, rel=1e-3)
    assert "battery" in run("simulate", bundle, day, "--product", product)


def test_a_trace_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text("mine")
    with pytest.raises(UserError, match=r"day\.csv: exists"):
        run("trace", path)
    assert path.read_text() == "mine"


def test_a_gap_ends_with_one_line_and_exit_code_two(tmp_path: Path) -> None:
    bundle = TinyBundle(tmp_path / "bundle").path
    day = tmp_path / "day.csv"
    day.write_text("time_s,event\n0,0\n9000,1\n")
    done = subprocess.run(
        [sys.executable, "-m", "hwnas", "simulate", bundle, day],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"{day}:3: time_s: a gap of 9000 s; wanted a row every 3600 s at least. "
        "Cut the trace there, or fill it.\n"
    )
    assert done.stdout == ""
