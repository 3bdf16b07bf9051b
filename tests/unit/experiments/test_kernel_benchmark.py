"""The benchmark of kernels, on measurements made up by a law known here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from latency_predictors.coverage import distinct_architectures
from latency_predictors.kernel_segments import Segment, segments
from search_spaces import SearchSpace, bytes_moved, create, macs

_SCRIPT = Path(__file__).parents[3] / "experiments" / "benchmarks" / "kernel_calibration.py"
_KERNELS = {
    "conv2d": "conv2d",
    "depthwise_conv2d": "conv2d",
    "linear": "matmul",
    "global_avg_pool": "mean",
    "copy": "transpose",
}


def segment_s(segment: Segment) -> float:
    sizes = [macs(w) / 1e9 + bytes_moved(w) / 4e9 for w in segment.workloads if w.op != "copy"]
    return 1e-6 + sum(sizes)


def sample(space: SearchSpace, choices: dict[str, Any], timed: bool) -> dict[str, Any]:
    stages = [segments(s) for s in space.stages(space.canonicalize(choices))]
    kernels = [
        [(f"{_KERNELS[part.workloads[0].op]}_0", [segment_s(part)] * 3) for part in parts]
        for parts in stages
    ]
    return {
        "choices": choices,
        # 2 us per inference, 0.2 us per call
        "latency_s": [2e-6 + sum(segment_s(part) + 2e-7 for part in parts) for parts in stages],
        "kernels": kernels if timed else [],
        "whole_s": 2.0,
        "kernels_s": 1.0 if timed else 0.0,
    }


def test_kernels_of_ten_networks_tell_a_law_that_sums_over_kernels(tmp_path: Path) -> None:
    measured = {}
    for name in ("depthwise_separable", "early_exit"):
        space = create(name, input_shape=(3, 32, 32), n_classes=10)
        drawn = distinct_architectures(space, 14, np.random.default_rng(0))
        measured[name] = [sample(space, dict(a.choices), i < 10) for i, a in enumerate(drawn)]
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(measured))
    printed = subprocess.run(
        [sys.executable, str(_SCRIPT), "--measured", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.count("10 networks of") == 2
    rows = [line for line in printed.splitlines() if "kernels of 10, 8 whole" in line]
    assert len(rows) == 2
    for row in rows:
        seconds, mape, _, within_10, *_ = (float(cell) for cell in row.split()[6:])
        # 10 networks' kernels at a second, 8 whole networks at two
        assert seconds == 26
        # the law is in the family that predicts kernels, but some lie far from all measured
        assert mape < 3
        assert within_10 == 100
