"""Evaluations whose weights were trained again, elsewhere than in the search."""

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from hwnas.lost_weights import as_restored
from hwnas.study import Evaluated
from targets import Target
from tests.unit.hwnas.untrained_search import random_dataset, untrained_search


@pytest.mark.parametrize("luck", [0.04, 0.0])
def test_what_other_seeds_are_expected_to_reach_stays_the_same(tmp_path: Path, luck: float) -> None:
    context = untrained_search(tmp_path / "run", cast(Target, None), random_dataset())
    arch = context.space.sample(np.random.default_rng(0))
    searched = {"validation": {"accuracy": 0.90}}
    evaluated = Evaluated(0, arch, (0.90 - luck, 1e-3), searched, luck=luck)
    assert as_restored(context, evaluated) == evaluated
    path = context.run.checkpoint(arch.arch_id).with_suffix(".json")
    path.write_text(json.dumps({"validation": {"accuracy": 0.88}}))
    restored = as_restored(context, evaluated)
    assert restored.result["validation"]["accuracy"] == 0.88
    # of few trainings nothing is known to be luck
    assert restored.luck == pytest.approx(0.02 if luck else 0.0)
