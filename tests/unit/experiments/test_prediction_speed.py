"""The benchmark of speed times what it says it does."""

import numpy as np
import pytest

import search_spaces
from experiments.benchmarks.prediction_speed import learned, speeds
from latency_predictors.space_features import SpaceFeatures
from search_spaces import SearchSpace
from search_spaces.encoding import sample_encodings


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.create("early_exit", input_shape=(1, 8, 8), n_classes=4)


def test_every_task_has_its_speeds(space: SearchSpace) -> None:
    rows = list(speeds(space, 8, 50))
    assert [row.task for row in rows] == ["features", "latency", "all costs", "candidates"]
    assert {(row.space, row.fitted) for row in rows} == {("early_exit", 8)}
    assert all(min(row.cold, row.warm, row.one_by_one) > 0 for row in rows)


def test_the_predictors_timed_have_learned_something(space: SearchSpace) -> None:
    """Costs that vary by more than their intervals: what is timed is no constant."""
    encodings = sample_encodings(space, 200, np.random.default_rng(2))
    costs = learned(space, 40).predict_encodings(SpaceFeatures(space), encodings)
    for name, predictions in costs.items():
        spread = np.std(np.log(predictions.mean))
        assert spread > 2 * np.median(predictions.std / predictions.mean), name
