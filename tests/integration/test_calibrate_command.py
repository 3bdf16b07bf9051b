"""``hwnas calibrate`` as a user gives it: goals, contradictions, interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import TinySearch

_TIMEOUT_S = 240


def arguments(tiny: TinySearch, folder: Path, *more: str) -> list[str]:
    return [
        *("calibrate", "host-onnxruntime", "--space", str(tiny.experiment)),
        *("--predictors", str(folder / "predictors"), *more),
    ]


def calibrate(tiny: TinySearch, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hwnas", *arguments(tiny, folder, *more)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        env=os.environ | {"HWNAS_CACHE": str(tiny.cache)},
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--within", "10", "--samples", "20"), "leave --samples and --held-out out"),
        (("--within", "10", "--held-out", "20"), "leave --samples and --held-out out"),
        (("--share", "0.9"), "--share and --max-samples go with --within"),
        (("--max-samples", "90"), "--share and --max-samples go with --within"),
        (("--within", "10", "--max-samples", "50"), "at least 84 architectures to prove"),
    ],
    ids=["samples", "held-out", "share", "max-samples", "too-few"],
)
def test_a_contradiction_is_one_line_and_nothing_is_written(
    tiny: TinySearch, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = calibrate(tiny, tmp_path, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_ctrl_c_keeps_what_was_measured_and_the_same_command_reaches_its_goal(
    tiny: TinySearch, tmp_path: Path
) -> None:
    """Within 100 % of half of the architectures: what any predictor reaches."""
    options = ("--within", "100", "--share", "0.5", "--max-samples", "60", "--json")
    process = tiny.start(*arguments(tiny, tmp_path, *options))
    deadline = time.monotonic() + _TIMEOUT_S
    while not (found := list(tmp_path.glob("predictors/*/*/measurements.jsonl"))):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted; the same command goes on, without --fresh"
    before = found[0].read_text().splitlines()

    again = calibrate(tiny, tmp_path, *options)
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert report["goal"]["stopped"] == "reached"
    assert report["goal"]["lower_bound"] >= 0.5
    after = found[0].read_text().splitlines()
    assert after[: len(before)] == before
    ids = [json.dumps(json.loads(line)["architecture"], sort_keys=True) for line in after]
    assert len(ids) == len(set(ids)) == report["n_fitted"] + report["n_held_out"]
