"""The benchmark of compression: who teaches whom, and that every way is tried with every seed."""

import json
from pathlib import Path

import numpy as np

from experiments.benchmarks.compression import Settings, as_json, compress, drawn
from hwnas.compression_config import DistillationConfig, PruningConfig
from hwnas.config import ExperimentConfig
from hwnas.spaces import create_space
from search_spaces import total_macs
from targets import MeasureConfig

CONFIG = ExperimentConfig.model_validate(
    {
        "name": "compression",
        "dataset": {"kind": "digits"},
        "space": {"name": "early_exit", "n_stages": 2, "choices": {"depth": [1], "kernel": [3]}},
        "target": "host-onnxruntime",
        "training": {"epochs": 1, "batch_size": 256, "device": "cpu"},
    }
)
QUICKLY = MeasureConfig(0.0, 20, 20, 0.0, repeats=0)


def test_the_largest_teaches_students_from_small_to_large() -> None:
    space = create_space(CONFIG.space, (1, 8, 8), 10)
    *students, teacher = drawn(space, 3, 0)
    macs = [total_macs(space.workloads(a)) for a in (*students, teacher)]
    assert macs == sorted(macs)
    assert len({a.arch_id for a in (*students, teacher)}) == 4
    rng = np.random.default_rng(0)
    assert macs[-1] == max(total_macs(space.workloads(space.sample(rng))) for _ in range(200))


def test_every_way_is_compared_with_the_student_seed_by_seed() -> None:
    settings = Settings(1, 2, 1, DistillationConfig(), PruningConfig(), QUICKLY)
    rows = compress(CONFIG, Path(), settings)
    assert [r.attempt.what for r in rows] == ["distillation", "pruning", "training on (control)"]
    for row in rows:
        figures = row.attempt.figures
        # on a busy computer no pruning may look fast enough
        if row.attempt.what == "pruning" and not figures:
            assert "pruning reaches" in row.attempt.outcome
            continue
        assert figures["seeds"] == 2
        assert row.cpu_s > 0
        for name in ("accuracy", "latency", "energy"):
            low, high = figures[f"{name}_change_low"], figures[f"{name}_change_high"]
            assert low <= figures[f"{name}_change"] <= high
    assert len({r.base_accuracy for r in rows}) == 1
    assert json.loads(json.dumps(as_json(rows[0])))["what"] == "distillation"
