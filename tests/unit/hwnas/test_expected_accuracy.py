"""What luck is taken for, where accuracies follow a law and the luck is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.config import ExperimentConfig
from hwnas.expected_accuracy import without_luck
from hwnas.progress import SilentProgress
from hwnas.run_folder import RunFolder
from hwnas.samplers.guided_proposals import START
from hwnas.search_context import SearchContext
from hwnas.search_plan import SearchPlan
from hwnas.study import Evaluated
from tests.unit.hwnas.law_costs import ENERGY_MODEL, law_costs, law_space

N = 80
# standard deviation that seeds make
NOISE = 0.05


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> SearchContext:
    folder: Path = tmp_path_factory.mktemp("run")
    config = ExperimentConfig.model_validate(
        {
            "name": "lucky",
            "dataset": {"kind": "digits"},
            "space": {"name": "early_exit", "n_stages": 2},
            "objectives": ["accuracy", "latency"],
        }
    )
    space = law_space()
    # the data set and the target are not asked
    context = SearchContext(
        config,
        folder,
        RunFolder(folder),
        None,  # type: ignore[arg-type]
        space,
        None,  # type: ignore[arg-type]
        SilentProgress(),
    )
    context.costs = law_costs(space)
    ideal, reference = (1.0, 1e-5), (0.0, 1e-1)
    predictors = context.costs._predictors
    context.plan = SearchPlan(config, folder, "", ENERGY_MODEL, ideal, reference, predictors)
    return context


def law(context: SearchContext, n: int) -> tuple[list[Evaluated], np.ndarray, np.ndarray]:
    """Return evaluations, what seeds would give on average, and the luck of each."""
    rng = np.random.default_rng(1)
    found, truth = [], []
    for number in range(n):
        arch = context.space.sample(rng)
        cost_s = context.costs.predict([arch])[0].mean_stage_latency_s[-1]
        # the larger, the better: between 0.4 and 0.9 over two decades
        truth.append(0.65 + 0.12 * np.tanh(np.log(cost_s / 2e-4)))
        found.append(Evaluated(number, arch, (0.0, cost_s), {}, ((0.0, cost_s), None)))
    luck = rng.normal(0.0, NOISE, n)
    told = [
        replace(e, values=(a, e.values[1]), points=((a, e.values[1]), None))
        for e, a in zip(found, np.array(truth) + luck, strict=True)
    ]
    return told, np.array(truth), luck


def test_luck_is_told_from_what_architectures_have_in_common(context: SearchContext) -> None:
    told, truth, luck = law(context, N)
    expected = without_luck(context, told)
    error = np.array([e.values[0] for e in expected]) - truth
    assert np.sqrt(np.mean(error**2)) < 0.6 * NOISE
    assert np.corrcoef([e.luck for e in expected], luck)[0, 1] > 0.8
    # so the luckiest of all is flattered less
    luckiest = int(np.argmax(luck))
    assert abs(error[luckiest]) < 0.6 * luck[luckiest]


def test_only_accuracies_change_and_those_of_all_points_alike(context: SearchContext) -> None:
    told, _, _ = law(context, N)
    for before, after in zip(told, without_luck(context, told), strict=True):
        assert after.values[0] == before.values[0] - after.luck
        assert after.values[1] == before.values[1]
        assert after.points == (after.values, None)
        assert 0 <= after.values[0] <= 1


def test_few_trainings_tell_nothing_of_each_other(context: SearchContext) -> None:
    told, _, _ = law(context, START - 1)
    assert without_luck(context, told) == told
