"""Ask-and-tell on a space small enough to know all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from hwnas.config import SamplerName
from hwnas.costs import ArchitectureCosts
from hwnas.objectives import OBJECTIVES, Constraint
from hwnas.study import Proposal, SearchStudy
from latency_predictors import EnergyRange, Prediction
from search_spaces import Architecture, Choice, Stage, Workload

SAMPLERS = get_args(SamplerName)
MAX_LATENCY = Constraint("max_latency_ms", "worst_latency_s", 8e-3, "ms", 1e3)
MIN_ACCURACY = Constraint("min_accuracy", "validation_accuracy", 0.5, "", 1.0, is_minimum=True)


class GridSpace:
    """Depth, width and activation of one linear layer; without depth no activation counts."""

    name = "grid"
    input_shape = (1, 1, 1)
    n_classes = 2

    def __init__(self) -> None:
        self.dimensions: Mapping[str, tuple[Choice, ...]] = {
            "activation": ("relu6", "hard_swish"),
            "depth": (0, 1, 2, 3),
            "width": (8, 16, 32),
        }

    def canonicalize(self, choices: Mapping[str, Choice]) -> Architecture:
        canonical = {name: choices[name] for name in self.dimensions}
        if canonical["depth"] == 0:
            canonical["activation"] = "relu6"
        return Architecture(self.name, tuple(sorted(canonical.items())))

    def sample(self, rng: np.random.Generator) -> Architecture:
        return self.canonicalize(
            {name: values[rng.integers(len(values))] for name, values in self.dimensions.items()}
        )

    def stages(self, arch: Architecture) -> tuple[Stage, ...]:
        width = int(arch["width"])
        layers = (Workload("linear", (width,), (width,)),) * (1 + int(arch["depth"]))
        return (Stage(self.input_shape, None, layers),)

    def workloads(self, arch: Architecture) -> tuple[Workload, ...]:
        return self.stages(arch)[0].workloads

    def build(self, arch: Architecture) -> Any:
        raise NotImplementedError("a study trains nothing")


SPACE = GridSpace()
EVERYTHING = {
    SPACE.canonicalize(dict(zip(SPACE.dimensions, values, strict=True)))
    for values in product(*SPACE.dimensions.values())
}


def latency_s(arch: Architecture) -> float:
    return 1e-3 * (1 + int(arch["depth"])) * int(arch["width"]) / 8


def accuracy(arch: Architecture) -> float:
    bonus = 0.05 if arch["activation"] == "hard_swish" else 0.0
    return 0.3 + 0.1 * int(arch["depth"]) + 0.05 * math.log2(int(arch["width"])) + bonus


def predict(architectures: Sequence[Architecture]) -> list[ArchitectureCosts]:
    """Exact costs: their intervals have no width."""
    out = []
    for arch in architectures:
        t = latency_s(arch)
        exact, size = Prediction(t, 0.0, t, t, True), Prediction(1e3, 0.0, 1e3, 1e3, True)
        energy = EnergyRange(2 * t, t, 3 * t)
        out.append(ArchitectureCosts((exact,), (energy,), exact, energy, size, size))
    return out


FEASIBLE = {a for a in EVERYTHING if latency_s(a) <= 8e-3}


def in_order(architectures: set[Architecture]) -> list[Architecture]:
    return sorted(architectures, key=lambda a: a.arch_id)


def open_study(
    journal: Path,
    sampler: SamplerName = "tpe",
    *,
    seed: int = 0,
    costs: Callable[[Sequence[Architecture]], list[ArchitectureCosts]] = predict,
    constraints: Sequence[Constraint] = (MAX_LATENCY,),
    reserve: set[Architecture] = FEASIBLE,
) -> SearchStudy:
    objectives = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
    return SearchStudy(
        journal, SPACE, objectives, constraints, costs, sampler, seed, in_order(reserve)
    )


def train(study: SearchStudy, batch: Sequence[Proposal]) -> None:
    for proposal in batch:
        arch = proposal.architecture
        result = {"width": arch["width"], "note": "trained"}
        study.complete(proposal, [accuracy(arch), latency_s(arch)], result)


def search(study: SearchStudy, batches: int, batch: int = 4) -> list[Proposal]:
    proposals = []
    for _ in range(batches):
        asked = study.propose(batch)
        train(study, asked)
        proposals += asked
    return proposals


def trials_on_disk(journal: Path) -> list[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.load_study(study_name="search", storage=storage).trials


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def test_the_grid_is_what_these_tests_take_it_for() -> None:
    assert len(EVERYTHING) == 4 * 3 * 2 - 3
    assert 0 < len(FEASIBLE) < len(EVERYTHING)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_feasible_architecture_is_proposed_once_and_then_none(
    journal: Path, sampler: SamplerName
) -> None:
    study = open_study(journal, sampler)
    proposed: list[Architecture] = []
    while batch := study.propose(5):
        train(study, batch)
        proposed += [p.architecture for p in batch]
    assert len(proposed) == len(set(proposed))
    assert set(proposed) == FEASIBLE
    assert study.propose(3) == []
    assert study.counts()["evaluated"] == len(FEASIBLE)
    assert study.counts()["failed"] == 0
    assert [e.architecture for e in study.evaluated()] == proposed


def test_fewer_are_proposed_where_fewer_are_left(journal: Path) -> None:
    assert len(open_study(journal, "random").propose(1000)) == len(FEASIBLE)


def test_costs_come_with_the_proposal(journal: Path) -> None:
    for proposal in open_study(journal).propose(4):
        assert proposal.costs == predict([proposal.architecture])[0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_infeasible_proposals_are_told_as_pruned_with_their_violations(
    journal: Path, sampler: SamplerName
) -> None:
    study = open_study(journal, sampler)
    proposed = search(study, batches=2)
    assert {p.architecture for p in proposed} <= FEASIBLE
    pruned = [
        t for t in trials_on_disk(journal)
        if t.state == TrialState.PRUNED and "duplicate_of" not in t.user_attrs
    ]  # fmt: skip
    assert len(pruned) == study.counts()["infeasible"]
    for trial in pruned:
        width, depth = (8, 16, 32)[trial.params["width"]], trial.params["depth"]
        excess = (1 + depth) * width / 8 / 8 - 1
        assert excess > 0
        assert trial.constraints == {"max_latency_ms": pytest.approx(excess)}


def test_some_proposals_are_infeasible_so_that_the_test_above_says_something(
    journal: Path,
) -> None:
    study = open_study(journal, "random")
    search(study, batches=2)
    assert study.counts()["infeasible"] > 0


def test_a_repeated_architecture_is_told_the_values_known_and_not_trained(journal: Path) -> None:
    study = open_study(journal, "random")
    search(study, batches=4)
    trials = trials_on_disk(journal)
    repeats = [t for t in trials if "duplicate_of" in t.user_attrs]
    assert len(repeats) == study.counts()["repeated"] > 0
    for trial in repeats:
        earlier = trials[trial.user_attrs["duplicate_of"]]
        assert earlier.user_attrs["architecture"] == trial.user_attrs["architecture"]
        if trial.state == TrialState.COMPLETE:
            assert trial.values == earlier.values
            assert trial.constraints == earlier.constraints
        else:
            # within its own batch: nothing was known yet
            assert trial.state == TrialState.PRUNED
    assert any(t.state == TrialState.COMPLETE for t in repeats)


def test_choices_without_effect_make_no_new_architecture(journal: Path) -> None:
    """Without depth the activation is collapsed, though the sampler may choose it."""
    study = open_study(journal, "random", constraints=())
    search(study, batches=6)
    flat = [t for t in trials_on_disk(journal) if t.params["depth"] == 0]
    assert {t.params["activation"] for t in flat} == {"relu6", "hard_swish"}
    trained = [e.architecture for e in study.evaluated()]
    assert all(a["activation"] == "relu6" for a in trained if a["depth"] == 0)
    assert len(trained) == len(set(trained))


def as_told(proposals: Sequence[Proposal]) -> list[tuple[int, str]]:
    return [(p.number, p.architecture.arch_id) for p in proposals]


@pytest.fixture(params=SAMPLERS, scope="module")
def sampler(request: pytest.FixtureRequest) -> SamplerName:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, sampler: SamplerName
) -> list[tuple[int, str]]:
    """What a study proposes that nobody stopped."""
    journal = tmp_path_factory.mktemp(sampler) / "study.journal"
    return as_told(search(open_study(journal, sampler), batches=3))


def test_a_study_opened_again_after_every_batch_proposes_the_same(
    journal: Path, sampler: SamplerName, uninterrupted: list[tuple[int, str]]
) -> None:
    proposals = []
    for _ in range(3):
        proposals += search(open_study(journal, sampler), batches=1)
    assert as_told(proposals) == uninterrupted


def test_a_study_killed_while_training_hands_out_the_same_batch_again(
    journal: Path, sampler: SamplerName, uninterrupted: list[tuple[int, str]]
) -> None:
    killed = open_study(journal, sampler)
    asked = killed.propose(4)
    train(killed, asked[:1])
    resumed = open_study(journal, sampler)
    pending = resumed.pending()
    assert as_told(pending) == uninterrupted[1:4]
    assert [p.costs for p in pending] == [p.costs for p in asked[1:]]
    train(resumed, pending)
    assert resumed.pending() == []
    assert as_told(search(resumed, batches=2)) == uninterrupted[4:]


@pytest.mark.parametrize("calls", [1, 4])
def test_a_study_killed_while_proposing_proposes_the_same(
    journal: Path, sampler: SamplerName, uninterrupted: list[tuple[int, str]], calls: int
) -> None:
    proposals = search(open_study(journal, sampler), batches=1)
    left = calls

    def interrupted(architectures: Sequence[Architecture]) -> list[ArchitectureCosts]:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return predict(architectures)

    killed = open_study(journal, sampler, costs=interrupted)
    with pytest.raises(KeyboardInterrupt):
        killed.propose(4)
    resumed = open_study(journal, sampler)
    assert resumed.pending() == []
    assert as_told([*proposals, *search(resumed, batches=2)]) == uninterrupted


def test_a_torn_last_line_is_dropped(journal: Path) -> None:
    proposals = search(open_study(journal), batches=1)
    content = journal.read_bytes()
    journal.write_bytes(content + content.splitlines()[-1][:20])
    resumed = open_study(journal)
    assert [e.architecture for e in resumed.evaluated()] == [p.architecture for p in proposals]
    search(resumed, batches=1)
    assert len(open_study(journal).evaluated()) == 8


def test_the_seed_decides_what_is_proposed(tmp_path: Path) -> None:
    one, again, other = (
        as_told(search(open_study(tmp_path / f"{i}.journal", "random", seed=seed), batches=2))
        for i, seed in enumerate((0, 0, 1))
    )
    assert one == again
    assert one != other


def test_what_was_enqueued_is_proposed_first_in_its_order(journal: Path) -> None:
    wanted = in_order(FEASIBLE)[:3]
    study = open_study(journal)
    study.enqueue(wanted)
    assert [p.architecture for p in study.propose(5)][:3] == wanted


def test_what_was_enqueued_is_kept_and_enqueued_once(journal: Path) -> None:
    wanted = in_order(FEASIBLE)[:3]
    open_study(journal).enqueue(wanted)
    resumed = open_study(journal)
    resumed.enqueue(in_order(FEASIBLE)[3:])
    proposals = resumed.propose(3)
    assert [p.architecture for p in proposals] == wanted
    assert len(trials_on_disk(journal)) == 3


def test_results_are_read_back_in_trial_order(journal: Path) -> None:
    proposals = search(open_study(journal), batches=2)
    for evaluated, proposal in zip(open_study(journal).evaluated(), proposals, strict=True):
        arch = proposal.architecture
        assert (evaluated.number, evaluated.architecture) == (proposal.number, arch)
        assert evaluated.values == (accuracy(arch), latency_s(arch))
        assert evaluated.result == {"width": arch["width"], "note": "trained"}


def test_a_failed_training_is_counted_explained_and_not_tried_again(journal: Path) -> None:
    study = open_study(journal, "random")
    failed, *others = study.propose(3)
    study.fail(failed, "the loss is not finite")
    train(study, others)
    resumed = open_study(journal, "random")
    assert resumed.failures() == ["the loss is not finite"]
    assert resumed.counts()["failed"] == 1
    assert resumed.counts()["evaluated"] == 2
    later = []
    while batch := resumed.propose(5):
        train(resumed, batch)
        later += [p.architecture for p in batch]
    assert failed.architecture not in later
    assert len(later) == len(FEASIBLE) - 3


def test_a_limit_judged_after_training_is_recorded_as_a_constraint(journal: Path) -> None:
    study = open_study(journal, constraints=(MAX_LATENCY, MIN_ACCURACY))
    (proposal,) = study.propose(1)
    study.complete(proposal, [0.4, 1e-3], {}, {"min_accuracy": 0.2})
    (trial,) = [t for t in trials_on_disk(journal) if t.state == TrialState.COMPLETE]
    assert trial.constraints["min_accuracy"] == 0.2
    assert trial.constraints["max_latency_ms"] <= 0


def test_a_limit_on_the_mean_is_recorded_once_the_exits_are_known(journal: Path) -> None:
    limit = Constraint("min_inferences_per_joule", "inferences_per_joule", 1.0, "", 1.0, True, True)
    study = open_study(journal, constraints=(limit,))
    (proposal,) = study.propose(1)
    (running,) = [t for t in trials_on_disk(journal) if t.state == TrialState.RUNNING]
    assert running.constraints == {}
    study.complete(proposal, [0.4, 1e-3], {}, {"min_inferences_per_joule": -0.3})
    (trial,) = [t for t in trials_on_disk(journal) if t.state == TrialState.COMPLETE]
    assert trial.constraints == {"min_inferences_per_joule": -0.3}


def test_what_never_meets_a_limit_on_the_mean_is_not_trained(journal: Path) -> None:
    # at most 3 t joules; t is 1 to 16 ms
    limit = Constraint("min_inferences_per_joule", "inferences_per_joule", 100, "", 1.0, True, True)
    met = {a for a in EVERYTHING if 3 * latency_s(a) <= 0.01}
    study = open_study(journal, "random", constraints=(limit,), reserve=met)
    proposed = set()
    while batch := study.propose(5):
        for proposal in batch:
            study.complete(proposal, [0.4, 1e-3], {}, {limit.name: -0.1})
            proposed.add(proposal.architecture)
    assert proposed == met
    pruned = [t for t in trials_on_disk(journal) if t.state == TrialState.PRUNED]
    assert any(t.constraints[limit.name] > 0 for t in pruned)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_where_the_sampler_finds_nothing_the_reserve_is_proposed(
    journal: Path, sampler: SamplerName
) -> None:
    """Only one of 21 architectures meets this limit."""
    tight = Constraint("max_latency_ms", "worst_latency_s", 1e-3, "ms", 1e3)
    only = {a for a in EVERYTHING if latency_s(a) <= 1e-3}
    assert len(only) == 1
    study = open_study(journal, sampler, constraints=(tight,), reserve=only)
    assert {p.architecture for p in study.propose(2)} == only


def test_without_feasible_architectures_nothing_is_proposed(journal: Path) -> None:
    impossible = Constraint("max_latency_ms", "worst_latency_s", 1e-9, "ms", 1e3)
    study = open_study(journal, "random", constraints=(impossible,), reserve=set())
    assert study.propose(2) == []
    assert study.counts()["evaluated"] == 0
    assert study.counts()["infeasible"] > 0


def test_objectives_keep_their_directions(journal: Path) -> None:
    open_study(journal)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name="search", storage=storage)
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
