"""The guided sampler: alone in an Optuna study, on spaces small enough to know the truth."""

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import TrialState

from hwnas.samplers.candidate_costs import CandidateCosts
from hwnas.samplers.pareto_guided import OTHER_VALUES, ParetoGuidedSampler

Rows = NDArray[np.intp]
Array = NDArray[np.float64]
Parameters = Mapping[str, BaseDistribution]

SPACE: dict[str, BaseDistribution] = {
    "width": IntDistribution(8, 40, step=8),
    "depth": IntDistribution(1, 5),
    "kernel": CategoricalDistribution([3, 5, 7]),
    "residual": CategoricalDistribution([False, True]),
}
SIZES = (5, 5, 3, 2)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(verbosity)


def accuracy(rows: Rows) -> Array:
    """A law with an interaction and diminishing returns."""
    width, depth, kernel, residual = rows.T
    return np.asarray(1 - 0.5 * np.exp(-0.3 * width - 0.2 * depth - 0.1 * kernel * residual))


def latency_s(rows: Rows) -> Array:
    width, depth, kernel, residual = rows.T
    return np.asarray(1e-3 * (1 + width) * (1 + depth) * (1 + 0.3 * kernel) + 1e-4 * residual)


def costs(rows: Rows) -> CandidateCosts:
    values = np.column_stack([np.full(len(rows), np.nan), latency_s(rows)])
    return CandidateCosts(values, np.where(np.isnan(values), np.nan, 0.0), np.zeros(len(rows)))


def row_of(parameters: Mapping[str, Any]) -> tuple[int, int, int, int]:
    width, depth, kernel, residual = (parameters[name] for name in SPACE)
    return (width // 8 - 1, depth - 1, (3, 5, 7).index(kernel), int(residual))


def values_of(parameters: Mapping[str, Any]) -> list[float]:
    row = np.array([row_of(parameters)])
    return [float(accuracy(row)[0]), float(latency_s(row)[0])]


def guided(seed: int = 0, space: Parameters = SPACE, **settings: Any) -> ParetoGuidedSampler:
    settings.setdefault("batch", 10)  # larger blocks are quicker tests
    return ParetoGuidedSampler(distributions=space, seed=seed, **settings)


def study_of(sampler: BaseSampler, storage: optuna.storages.BaseStorage | None = None) -> Study:
    return optuna.create_study(
        study_name="study",
        storage=storage,
        directions=["maximize", "minimize"],
        sampler=sampler,
        load_if_exists=True,
    )


def run(study: Study, n: int) -> list[tuple[int, int, int, int]]:
    for _ in range(n):
        trial = study.ask(dict(SPACE))
        study.tell(trial, values_of(trial.params))
    return [row_of(trial.params) for trial in study.get_trials(deepcopy=False)]


def all_rows() -> Rows:
    return np.array(list(product(*map(range, SIZES))))


def losses(rows: Rows) -> Array:
    return np.column_stack([-accuracy(rows), np.log(latency_s(rows))])


def hypervolume_ratio(rows: Rows) -> float:
    everything = losses(all_rows())
    low, high = everything.min(axis=0), everything.max(axis=0)
    found, exact = (
        moocore.hypervolume((part - low) / (high - low), ref=np.ones(2))
        for part in (losses(rows), everything)
    )
    return float(found / exact)


def test_no_trial_repeats_another_until_the_space_is_exhausted() -> None:
    study = study_of(guided(costs=costs, batch=40))
    n = int(np.prod(SIZES))
    rows = run(study, n)
    assert len(set(rows)) == n
    # then any candidate will do
    assert set(run(study, 3)) == set(rows)


@pytest.mark.parametrize("predicted", [True, False])
def test_the_front_is_found_with_fewer_evaluations_than_by_chance(predicted: bool) -> None:
    n, seeds = 30, range(4)
    settings: dict[str, Any] = {"costs": costs} if predicted else {}
    own = [hypervolume_ratio(np.array(run(study_of(guided(s, **settings)), n))) for s in seeds]
    drawn = [hypervolume_ratio(np.array(run(study_of(RandomSampler(s)), 2 * n))) for s in seeds]
    # with half as many evaluations; the ratio is 1 where all of the front is found
    assert np.mean(own) > np.mean(drawn)
    assert np.mean(own) > 0.95


def test_an_interrupted_study_goes_on_as_if_it_had_not_been() -> None:
    whole = run(study_of(guided(costs=costs)), 33)
    storage = optuna.storages.InMemoryStorage()
    for n in (3, 12, 10, 8):
        # another sampler each time, as after a restart
        rows = run(study_of(guided(costs=costs), storage), n)
    assert rows == whole


def test_another_seed_proposes_others() -> None:
    assert run(study_of(guided(0, costs=costs)), 12) != run(study_of(guided(1, costs=costs)), 12)


def test_workers_on_one_storage_are_asked_to_do_different_things() -> None:
    storage = optuna.storages.InMemoryStorage()
    workers = [study_of(guided(costs=costs), storage) for _ in range(4)]
    rows = []
    for _ in range(10):
        trials = [worker.ask(dict(SPACE)) for worker in workers]
        rows += [row_of(trial.params) for trial in trials]
        # the first one asked never ends
        for worker, trial in list(zip(workers, trials, strict=True))[1:]:
            worker.tell(trial, values_of(trial.params))
    assert len(set(rows)) == len(rows) == 40


def test_enqueued_trials_are_never_proposed_again() -> None:
    study = study_of(guided(costs=costs))
    queued = {"width": 8, "depth": 1, "kernel": 3, "residual": False}
    run(study, 11)
    study.enqueue_trial(queued)
    rows = run(study, 40)
    assert len(set(rows)) == len(rows)
    assert row_of(queued) in rows


def test_what_failed_or_was_pruned_is_not_proposed_again() -> None:
    study = study_of(guided(costs=costs))
    rows = []
    for number in range(60):
        trial = study.ask(dict(SPACE))
        rows.append(row_of(trial.params))
        state = [TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE][number % 3]
        complete = state == TrialState.COMPLETE
        study.tell(trial, values_of(trial.params) if complete else None, state=state)
    assert len(set(rows)) == 60


def test_candidates_beyond_a_hard_limit_are_not_proposed() -> None:
    def limited(rows: Rows) -> CandidateCosts:
        known = costs(rows)
        return CandidateCosts(known.values, known.log_stds, latency_s(rows) / 5e-3 - 1)

    feasible = {tuple(row) for row in all_rows().tolist() if latency_s(np.array([row]))[0] <= 5e-3}
    rows = run(study_of(guided(costs=limited, batch=20)), len(feasible))
    assert set(rows) == feasible


def test_infeasible_trials_do_not_count_as_reached() -> None:
    def best_beyond(limit_s: float) -> float:
        """Share of proposals that are at least as good as the best one told, but in vain."""
        study = study_of(guided(costs=costs))
        for _ in range(40):
            trial = study.ask(dict(SPACE))
            values = values_of(trial.params)
            trial.set_constraint("latency", values[1] / limit_s - 1)
            study.tell(trial, values)
        trials = study.get_trials(deepcopy=False)
        feasible = [row_of(t.params) for t in trials if t.constraints["latency"] <= 0]
        return hypervolume_ratio(np.array(feasible))

    allowed = np.array([row for row in all_rows() if latency_s(row[None])[0] <= 8e-3])
    # a point that is told to be infeasible dominates nothing: the feasible ones are found, too
    assert best_beyond(8e-3) > 0.95 * hypervolume_ratio(allowed)


def test_what_a_candidate_can_have_beside_its_values_counts_as_reached() -> None:
    def latencies_proposed(others: list[list[float]]) -> Array:
        study = study_of(guided(costs=costs))
        for number in range(40):
            trial = study.ask(dict(SPACE))
            if number == 0:
                study._storage.set_trial_system_attr(trial._trial_id, OTHER_VALUES, others)
            study.tell(trial, values_of(trial.params))
        trials = study.get_trials(deepcopy=False)[20:]
        return np.array([trial.values[1] for trial in trials])

    # no candidate is as accurate: only faster ones can add to the front
    assert latencies_proposed([[1.5, 5e-3]]).max() < 5e-3
    assert latencies_proposed([]).max() > 5e-3


def test_candidates_that_differ_in_choices_without_effect_are_tried_once() -> None:
    def canonical(rows: Rows) -> Rows:
        # the kernel matters only with a residual connection
        return np.where((np.arange(4) == 2) & (rows[:, 3:] == 0), 0, rows)

    distinct = {tuple(row) for row in canonical(all_rows()).tolist()}
    rows = run(study_of(guided(costs=costs, canonicalize=canonical, batch=30)), len(distinct))
    assert set(rows) == distinct


def test_features_that_foretell_are_used_and_others_do_no_harm() -> None:
    telling, useless = np.random.default_rng(0).normal(size=(2, *SIZES))

    def reached(refine: Callable[[Rows], Array] | None) -> float:
        study = study_of(guided(costs=costs, refine=refine))
        for _ in range(30):
            trial = study.ask(dict(SPACE))
            row = row_of(trial.params)
            study.tell(trial, [float(telling[row]), float(latency_s(np.array([row]))[0])])
        rows = np.array([row_of(t.params) for t in study.get_trials(deepcopy=False)])
        points = np.column_stack([-telling[tuple(rows.T)], np.log(latency_s(rows))])
        return float(moocore.hypervolume(points, ref=np.array([3.0, -3.0])))

    alone = reached(None)
    # nothing but the feature tells this law, which is noise to all others
    assert reached(lambda rows: np.asarray(telling[tuple(rows.T)][:, None])) > 1.05 * alone
    # nothing foretells it: two searches differ by luck alone
    assert reached(lambda rows: np.asarray(useless[tuple(rows.T)][:, None])) > 0.9 * alone


def test_a_large_space_is_searched_by_evolution() -> None:
    large: dict[str, BaseDistribution] = {f"x{i}": IntDistribution(0, 7) for i in range(10)}
    n = 60

    def reached(sampler: BaseSampler) -> float:
        study = study_of(sampler)
        for _ in range(n):
            x = np.array(list((trial := study.ask(large)).params.values()))
            study.tell(trial, [float(np.sqrt(x).sum()), float(np.exp(x / 4).sum())])
        rows = [tuple(t.params.values()) for t in study.get_trials(deepcopy=False)]
        assert len(set(rows)) == n
        values = np.array([t.values for t in study.get_trials(deepcopy=False)])
        # at best 10 * 7^(1/2) and 10, at worst 0 and 10 * e^(7/4)
        points = np.column_stack([1 - values[:, 0] / 26.46, (values[:, 1] - 10) / 47.55])
        return float(moocore.hypervolume(points, ref=np.ones(2)))

    # one random search may be lucky
    seeds = range(3)
    found = [reached(guided(space=large, seed=seed)) for seed in seeds]
    assert sum(found) > sum(reached(RandomSampler(seed)) for seed in seeds)


def test_parameters_outside_the_space_are_drawn_from_the_seed() -> None:
    drawn = []
    for _ in range(2):
        study = study_of(guided(costs=costs))
        trial = study.ask(dict(SPACE))
        drawn.append(trial.suggest_float("rate", 0.0, 1.0))
    assert drawn[0] == drawn[1]


def test_a_float_parameter_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="rate: wanted a categorical or an integer") as refused:
        guided(space={"rate": FloatDistribution(0, 1)})
    assert "\n" not in str(refused.value)


def test_it_works_with_optimize_and_one_objective() -> None:
    space: dict[str, BaseDistribution] = {f"x{i}": IntDistribution(0, 9) for i in range(3)}
    study = optuna.create_study(sampler=guided(space=space))
    study.optimize(
        lambda trial: sum((trial.suggest_int(f"x{i}", 0, 9) - 6) ** 2 for i in range(3)),
        n_trials=40,
    )
    # 1 of 1,000; by chance 40 trials find one as good with probability 0.04
    assert study.best_value == 0


def test_threads_of_one_study_are_asked_to_do_different_things() -> None:
    study = study_of(guided(batch=5))

    def evaluate(trial: optuna.Trial) -> list[float]:
        for name, distribution in SPACE.items():
            trial._suggest(name, distribution)
        # gives way to other threads in the middle of a block
        time.sleep(0.01)
        return values_of(trial.params)

    study.optimize(evaluate, n_trials=60, n_jobs=4)
    assert len({row_of(t.params) for t in study.get_trials(deepcopy=False)}) == 60


@pytest.mark.parametrize("again", [lambda s: s, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_sampler_begins_anew_with_another_study(
    again: Callable[[ParetoGuidedSampler], ParetoGuidedSampler],
) -> None:
    used = guided()
    run(optuna.create_study(directions=["minimize", "maximize"], sampler=used), 33)
    assert run(study_of(again(used)), 30) == run(study_of(guided()), 30)


def test_the_example_in_the_documentation_runs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "search.md").read_text()
    example: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], example)
    trials = example["study"].get_trials()
    assert len({tuple(t.params.items()) for t in trials}) == 30
    # its limit, of 3 ms
    assert max(t.values[1] for t in trials) <= 3e-3 * (1 + 1e-9)
