"""One worker's study of a space small enough to know all of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from hwnas.builtin_samplers import BuiltinSamplerName
from hwnas.claims import LAUNCHER
from hwnas.costs import ArchitectureCosts
from hwnas.journal_file import FileStorage, JournalFile
from hwnas.objectives import OBJECTIVES, Constraint
from hwnas.parameter_space import ParameterSpace
from hwnas.samplers.pareto_guided import OTHER_VALUES, ParetoGuidedSampler
from hwnas.storages import open_storage
from hwnas.study import Ending, Proposal, SearchStudy, SpaceExhaustedError
from hwnas.study_store import read_description
from hwnas.trial_record import RECORD, TrialContent, TrialRecord
from hwnas.worker_process import WorkerProcess
from search_spaces import Architecture
from search_spaces.encoding import CanonicalEncodings
from tests.unit.hwnas.grid_study import (
    EVERYTHING,
    FEASIBLE,
    MAX_LATENCY,
    MIN_ACCURACY,
    SPACE,
    accuracy,
    as_told,
    evaluate,
    in_order,
    killed_search,
    latency_s,
    open_study,
    predict,
    search,
)

# gp takes minutes for what the others do in a second
SAMPLERS = [name for name in get_args(BuiltinSamplerName) if name != "gp"]


def stored(journal: Path) -> list[FrozenTrial]:
    return optuna.load_study(study_name="search", storage=open_storage(str(journal))).trials


def seen(study: SearchStudy) -> list[FrozenTrial]:
    """Return what samplers see."""
    return study.mirror.get_trials(deepcopy=False)


def claimed(study: SearchStudy, wanted: int = 1000) -> Proposal:
    proposal = study.claim(wanted)
    assert proposal is not None
    return proposal


def guided_study(journal: Path) -> SearchStudy:
    sampler = ParetoGuidedSampler(
        distributions=ParameterSpace(SPACE).distributions,
        seed=0,
        canonicalize=CanonicalEncodings(SPACE),
    )
    return SearchStudy(
        open_storage(str(journal)),
        SPACE,
        (OBJECTIVES["accuracy"], OBJECTIVES["latency"]),
        (),
        predict,
        lambda _: sampler,
        worker="tester",
    )


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def test_the_grid_is_what_these_tests_take_it_for() -> None:
    assert len(EVERYTHING) == 4 * 3 * 2 - 3
    assert 0 < len(FEASIBLE) < len(EVERYTHING)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_feasible_architecture_is_proposed_once_and_then_none(
    journal: Path, sampler: BuiltinSamplerName
) -> None:
    with open_study(journal, sampler) as study:
        proposed = [p.architecture for p in search(study, 1000)]
        assert len(proposed) == len(set(proposed))
        assert set(proposed) == FEASIBLE
        with pytest.raises(SpaceExhaustedError):
            study.claim(1000)
        assert study.counts()["evaluated"] == len(FEASIBLE)
        assert study.counts()["failed"] == study.counts()["running"] == 0
        assert [e.architecture for e in study.evaluated()] == proposed


def test_no_more_are_evaluated_than_wanted(journal: Path) -> None:
    with open_study(journal) as study:
        assert len(search(study, 7)) == 7
        assert study.claim(7) is None
        assert len(search(study, 9)) == 2


def test_the_first_evaluations_are_those_that_hold_an_architecture(tmp_path: Path) -> None:
    # at random many are proposed again, and many exceed the limit
    with open_study(tmp_path / "study.journal", seed=1) as study:
        numbers = [p.number for p in search(study, 6)]
        assert numbers != list(range(6))
        assert [e.number for e in study.first(5)] == numbers[:5]
        assert all(e.has_ended for e in study.first(6))
        running = claimed(study)
        assert [e.number for e in study.first(9)] == [*numbers, running.number]
        assert not study.first(9)[-1].has_ended


def test_of_two_claims_of_one_architecture_the_first_counts(journal: Path) -> None:
    """Before the later one is given back, and after."""
    with open_study(journal) as study:
        for token, i in (("a", 0), ("b", 0), ("c", 1)):
            content = TrialContent(in_order(FEASIBLE)[i], positions=(0, 0, 0))
            record = TrialRecord(token, "tester", WorkerProcess.current(), content)
            study._store.create(TrialState.RUNNING, RECORD, record.to_dict())
        assert [e.number for e in study.first(3)] == [0, 2]
        study._store.finish(study._view.attempt("b").trial_id, TrialState.FAIL)
        assert [e.number for e in study.first(3)] == [0, 2]


def test_what_was_given_back_for_want_of_budget_is_proposed_when_there_is_more(
    journal: Path,
) -> None:
    """Of two workers that claimed the last evaluation at once, the later gives its one back."""
    with guided_study(journal) as study:
        last = claimed(study, 1)
        lost = next(a for a in in_order(EVERYTHING) if a != last.architecture)
        content = TrialContent(lost, ParameterSpace(SPACE).positions_of(lost))
        record = TrialRecord("late", "tester", WorkerProcess.current(), content)
        attempt = study._claims.record(record, TrialState.RUNNING)
        assert not study._claims.keeps(study._view.evaluations[attempt.number], attempt, 1)
        evaluate(study, last)
    with guided_study(journal) as study:
        search(study, len(EVERYTHING))
        assert {e.architecture for e in study.evaluated()} == EVERYTHING
        # none is drawn again before all were tried
        assert study.counts()["repeated"] == 0


def test_while_another_evaluation_runs_nothing_is_exhausted_yet(journal: Path) -> None:
    with open_study(journal) as study:
        search(study, len(FEASIBLE) - 1)
        last = study.claim(1000)
        assert last is not None
        assert study.claim(1000) is None
        study.fail(last, "no luck")
        with pytest.raises(SpaceExhaustedError):
            study.claim(1000)


def test_costs_come_with_the_proposal(journal: Path) -> None:
    with open_study(journal) as study:
        for proposal in search(study, 4):
            assert proposal.costs == predict([proposal.architecture])[0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_see_infeasible_proposals_as_pruned_with_their_violations(
    journal: Path, sampler: BuiltinSamplerName
) -> None:
    with open_study(journal, sampler) as study:
        proposed = search(study, 8)
        assert {p.architecture for p in proposed} <= FEASIBLE
        pruned = [
            t for t in seen(study)
            if t.state == TrialState.PRUNED and t.constraints["max_latency_ms"] > 0
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
    with open_study(journal) as study:
        search(study, 8)
        assert study.counts()["infeasible"] > 0


def test_samplers_see_a_repeated_architecture_with_the_values_known(journal: Path) -> None:
    with open_study(journal) as study:
        search(study, 12)
        by_effect: dict[tuple[int, int, str], list[FrozenTrial]] = {}
        for trial in seen(study):
            if trial.state == TrialState.COMPLETE:
                depth, width = trial.params["depth"], trial.params["width"]
                effective = trial.params["activation"] if depth else "relu6"
                by_effect.setdefault((depth, width, effective), []).append(trial)
        repeats = [trials for trials in by_effect.values() if len(trials) > 1]
        assert sum(len(trials) - 1 for trials in repeats) == study.counts()["repeated"] > 0
        for first, *others in repeats:
            for other in others:
                assert other.values == first.values
                assert other.constraints == first.constraints


def test_choices_without_effect_make_no_new_architecture(journal: Path) -> None:
    """Without depth the activation is collapsed, though the sampler may choose it."""
    with open_study(journal, constraints=()) as study:
        search(study, 20)
        flat = [t for t in seen(study) if t.params["depth"] == 0]
        assert {t.params["activation"] for t in flat} == {"relu6", "hard_swish"}
        trained = [e.architecture for e in study.evaluated()]
        assert all(a["activation"] == "relu6" for a in trained if a["depth"] == 0)
        assert len(trained) == len(set(trained))


@pytest.fixture(params=SAMPLERS, scope="module")
def sampler(request: pytest.FixtureRequest) -> BuiltinSamplerName:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, sampler: BuiltinSamplerName
) -> list[tuple[int, str]]:
    """What a study proposes that nobody stopped."""
    with open_study(tmp_path_factory.mktemp(sampler) / "study.journal", sampler) as study:
        return as_told(search(study, 12))


def test_a_study_opened_again_after_every_evaluation_proposes_the_same(
    journal: Path, sampler: BuiltinSamplerName, uninterrupted: list[tuple[int, str]]
) -> None:
    proposals = []
    for wanted in range(1, 13):
        with open_study(journal, sampler) as study:
            proposals += search(study, wanted)
    assert as_told(proposals) == uninterrupted


# these two remember most; a process for each sampler takes too long
@pytest.mark.parametrize("sampler", ["nsga3", "tpe"], indirect=True)
def test_a_study_killed_while_training_trains_the_same_again_under_the_same_number(
    journal: Path, sampler: BuiltinSamplerName, uninterrupted: list[tuple[int, str]]
) -> None:
    assert killed_search(journal, sampler, 4) == uninterrupted[:5]
    with open_study(journal, sampler) as study:
        assert as_told(search(study, 12)) == uninterrupted[4:]
        assert study.counts()["failed"] == 0
        assert [e.number for e in study.evaluated()] == [number for number, _ in uninterrupted]


def test_a_study_closed_while_training_trains_the_same_again_under_the_same_number(
    journal: Path, sampler: BuiltinSamplerName, uninterrupted: list[tuple[int, str]]
) -> None:
    for _ in range(5):  # more often than a worker may die
        with open_study(journal, sampler) as study:
            search(study, 4)
            assert as_told([claimed(study, 5)]) == uninterrupted[4:5]
    with open_study(journal, sampler) as study:
        assert as_told(search(study, 12)) == uninterrupted[4:]


@pytest.mark.parametrize("calls", [1, 4])
def test_a_study_killed_while_proposing_proposes_the_same(
    journal: Path, sampler: BuiltinSamplerName, uninterrupted: list[tuple[int, str]], calls: int
) -> None:
    with open_study(journal, sampler) as study:
        proposals = search(study, 4)
    left = calls

    def interrupted(architectures: Sequence[Architecture]) -> list[ArchitectureCosts]:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return predict(architectures)

    with open_study(journal, sampler, costs=interrupted) as study:
        try:
            while True:
                proposals.append(claimed(study))
                evaluate(study, proposals[-1])
        except KeyboardInterrupt:
            pass
    with open_study(journal, sampler) as study:
        assert as_told([*proposals, *search(study, 12)])[:12] == uninterrupted


class DyingJournal(JournalFile):
    """Raises in place of its n-th write, as if its process had been killed then."""

    def __init__(self, path: Path, dies_at: int) -> None:
        super().__init__(path)
        self._left = dies_at

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        super().append_logs(logs)


# an evaluation that lost its worker three times would be a failure
@pytest.mark.parametrize("sampler", ["nsga2"], indirect=True)
@settings(deadline=None, max_examples=25)
@given(deaths=st.lists(st.integers(0, 30), max_size=2))
def test_a_death_before_any_write_changes_no_proposal(
    tmp_path_factory: pytest.TempPathFactory,
    uninterrupted: list[tuple[int, str]],
    sampler: BuiltinSamplerName,
    deaths: list[int],
) -> None:
    journal = tmp_path_factory.mktemp("deaths") / "study.journal"
    for dies_at in deaths:
        with pytest.MonkeyPatch.context() as patch:
            gone = replace(WorkerProcess.current(), pid=2**22 + 1)
            patch.setattr(WorkerProcess, "current", classmethod(lambda _, gone=gone: gone))
            dying = FileStorage(DyingJournal(journal, dies_at))
            with suppress(KeyboardInterrupt), open_study(dying, sampler) as study:
                search(study, 12)
    with open_study(journal, sampler) as study:
        search(study, 12)
        evaluated = [(e.number, e.architecture.arch_id) for e in study.evaluated()]
        assert evaluated == uninterrupted
        assert study.counts()["running"] == study.counts()["failed"] == 0


def test_an_evaluation_whose_worker_dies_three_times_is_a_failure(journal: Path) -> None:
    first = killed_search(journal, "random", 0)
    assert killed_search(journal, "random", 0) == first
    assert killed_search(journal, "random", 0) == first
    with open_study(journal) as study:
        assert study.failures() == []  # nobody has looked
        proposed = as_told(search(study, 1000))
        assert first[0] not in proposed
        assert len(proposed) == len(FEASIBLE) - 1
        assert study.failures() == ["the worker died 3 times"]
        assert study.counts()["failed"] == 1


def test_deaths_together_with_the_search_are_no_failure(journal: Path) -> None:
    """Interrupted at the same training three times; each start announces itself anew."""
    first = []
    for start in range(3):
        launcher = replace(WorkerProcess.current(), started=start)
        with open_study(journal) as study:
            study.announce(LAUNCHER, json.dumps(launcher.to_dict()))
        first.append(killed_search(journal, "random", 0))
    assert first[0] == first[1] == first[2]
    # the last is dead itself: other workers see that before anyone resumes the search
    with open_study(journal) as study:
        assert first[0][0] in as_told(search(study, 1))
        assert study.counts()["failed"] == 0


def test_deaths_that_the_search_outlives_are_a_failure(journal: Path) -> None:
    with open_study(journal) as study:
        study.announce(LAUNCHER, json.dumps(WorkerProcess.current().to_dict()))
    first = [killed_search(journal, "random", 0) for _ in range(3)]
    with open_study(journal) as study:
        assert first[0][0] not in as_told(search(study, 1))
        assert study.failures() == ["the worker died 3 times"]


def test_the_seed_decides_what_is_proposed(tmp_path: Path) -> None:
    told = []
    for i, seed in enumerate((0, 0, 1)):
        with open_study(tmp_path / f"{i}.journal", seed=seed) as study:
            told.append(as_told(search(study, 8)))
    assert told[0] == told[1] != told[2]


def test_what_was_enqueued_is_proposed_first_in_its_order(journal: Path) -> None:
    wanted = in_order(FEASIBLE)[:3]
    with open_study(journal) as study:
        study.enqueue(wanted)
        assert [p.architecture for p in search(study, 5)][:3] == wanted


def test_what_was_enqueued_is_kept_and_enqueued_once(journal: Path) -> None:
    wanted = in_order(FEASIBLE)[:3]
    with open_study(journal) as study:
        study.enqueue(wanted)
    with open_study(journal) as study:
        study.enqueue(in_order(FEASIBLE)[3:])
        assert [p.architecture for p in search(study, 3)] == wanted
    assert len(stored(journal)) == 3


def test_results_are_read_back_by_number(journal: Path) -> None:
    with open_study(journal) as study:
        proposals = search(study, 8)
    with open_study(journal) as study:
        for evaluated, proposal in zip(study.evaluated(), proposals, strict=True):
            arch = proposal.architecture
            assert (evaluated.number, evaluated.architecture) == (proposal.number, arch)
            assert evaluated.values == (accuracy(arch), latency_s(arch))
            assert evaluated.result == {"width": arch["width"], "note": "trained"}


def test_a_failed_training_is_counted_explained_and_not_tried_again(journal: Path) -> None:
    with open_study(journal) as study:
        failed = claimed(study)
        assert study.fail(failed, "the loss is not finite")
        search(study, 2)
    with open_study(journal) as study:
        assert study.failures() == ["the loss is not finite"]
        assert study.counts()["failed"] == 1
        assert study.counts()["evaluated"] == 2
        later = [p.architecture for p in search(study, 1000)]
        assert failed.architecture not in later
        assert len(later) == len(FEASIBLE) - 3


def test_an_evaluation_stopped_early_is_no_failure_and_not_tried_again(journal: Path) -> None:
    with open_study(journal) as study:
        stopped = claimed(study)
        assert study.prune(stopped, "worse than others at rung 1", {"epochs": 3})
        later = [p.architecture for p in search(study, 1000)]
        assert set(later) == FEASIBLE - {stopped.architecture}
        assert study.counts()["stopped"] == 1
        assert study.failures() == []
        trial = seen(study)[stopped.number]
        assert trial.state == TrialState.PRUNED
        assert trial.constraints["max_latency_ms"] <= 0


def test_an_evaluation_reaches_every_point_that_meets_the_limits(journal: Path) -> None:
    with open_study(journal, constraints=(MAX_LATENCY, MIN_ACCURACY)) as study:
        several, alone, unmet = claimed(study), claimed(study), claimed(study)
        points = [(0.9, 2e-3), (0.8, 1e-3), None]
        study.complete(several, [0.8, 1e-3], {}, points=points)
        study.complete(alone, [0.7, 3e-3], {})
        study.complete(unmet, [0.4, 1e-3], {}, {"min_accuracy": 0.2})
    with open_study(journal) as study:
        assert [e.points for e in study.evaluated()] == [tuple(points), ((0.7, 3e-3),), ()]
        reached = [ending.points for ending in study.endings()]
        assert reached == [((0.9, 2e-3), (0.8, 1e-3)), ((0.7, 3e-3),), ()]
        # samplers learn from one of them, and know of the others
        assert seen(study)[several.number].values == [0.8, 1e-3]
        assert seen(study)[several.number].system_attrs[OTHER_VALUES] == reached[0]


def test_endings_are_told_once_each_with_what_is_known_of_them(journal: Path) -> None:
    with open_study(journal, constraints=(MAX_LATENCY, MIN_ACCURACY)) as study:
        complete, stopped, failed = claimed(study), claimed(study), claimed(study)
        assert study.endings() == []
        study.complete(complete, [0.4, 1e-3], {"seconds": 1}, {"min_accuracy": 0.2})
        assert study.endings() == [Ending((0.4, 1e-3), {"min_accuracy": 0.2}, {"seconds": 1})]
        study.fail(failed, "the loss is not finite", {"seconds": 3})
        assert study.endings(start=1) == [Ending(None, {}, {"seconds": 3})]
        study.prune(stopped, "worse than others", {"seconds": 2})
        assert study.endings(start=2) == [Ending(None, {}, {"seconds": 2})]
        study.fail(claimed(study), "no result")
        assert study.endings(start=3) == [Ending(None, {}, None)]
        assert study.failures() == ["the loss is not finite", "no result"]
    with open_study(journal) as study:
        assert len(study.endings()) == 4


def test_rungs_are_read_back_by_number_and_belong_to_the_latest_attempt(journal: Path) -> None:
    with open_study(journal) as study:
        first, second = claimed(study), claimed(study)
        study.report_rung(first, 0, [0.5, 1e-3])
        study.report_rung(second, 0, [0.25, 2e-3])
        study.report_rung(second, 1, [0.125, 2e-3])
        assert study.rung_values(0) == {first.number: (0.5, 1e-3), second.number: (0.25, 2e-3)}
        assert study.rung_values(1) == {second.number: (0.125, 2e-3)}
        assert study.rung_values(2) == {}
    with open_study(journal) as study:
        again = claimed(study)
        assert again.number == first.number
        study.report_rung(again, 0, [0.75, 1e-3])
        assert study.rung_values(0)[first.number] == (0.75, 1e-3)


def test_a_limit_judged_after_training_is_a_constraint_for_samplers(journal: Path) -> None:
    with open_study(journal, constraints=(MAX_LATENCY, MIN_ACCURACY)) as study:
        study.complete(claimed(study), [0.4, 1e-3], {}, {"min_accuracy": 0.2})
        study.counts()
        (trial,) = [t for t in seen(study) if t.state == TrialState.COMPLETE]
        assert trial.constraints["min_accuracy"] == 0.2
        assert trial.constraints["max_latency_ms"] <= 0


def test_a_limit_on_the_mean_is_recorded_once_the_exits_are_known(journal: Path) -> None:
    limit = Constraint("min_inferences_per_joule", "inferences_per_joule", 1.0, "", 1.0, True, True)
    with open_study(journal, constraints=(limit,)) as study:
        proposal = claimed(study)
        assert seen(study)[-1].constraints == {}
        study.complete(proposal, [0.4, 1e-3], {}, {"min_inferences_per_joule": -0.3})
        study.counts()
        assert seen(study)[-1].constraints == {"min_inferences_per_joule": -0.3}


def test_what_never_meets_a_limit_on_the_mean_is_not_trained(journal: Path) -> None:
    # at most 3 t joules; t is 1 to 16 ms
    limit = Constraint("min_inferences_per_joule", "inferences_per_joule", 100, "", 1.0, True, True)
    met = {a for a in EVERYTHING if 3 * latency_s(a) <= 0.01}
    with open_study(journal, constraints=(limit,), reserve=met) as study:
        assert {p.architecture for p in search(study, 1000)} == met


@pytest.mark.parametrize("values", [[0.5], [0.5, float("nan")], [float("inf"), 0.5]])
def test_values_that_no_objective_can_have_are_refused(journal: Path, values: list[float]) -> None:
    with open_study(journal) as study, pytest.raises(ValueError, match="2 finite values"):
        study.complete(claimed(study), values, {})


def test_a_trial_is_stored_with_one_attribute_and_another_once_trained(journal: Path) -> None:
    with open_study(journal) as study:
        search(study, 3)
        claimed(study)
        trials, lines = stored(journal), journal.read_text().splitlines()
    assert all(trial.params == {} and trial.system_attrs == {} for trial in trials)
    assert {len(t.user_attrs) for t in trials if t.state == TrialState.COMPLETE} == {2}
    assert {len(t.user_attrs) for t in trials if t.state == TrialState.RUNNING} == {1}
    # a line each: study, creation of trials; outcome and values of the 3 complete ones
    assert len(lines) == 1 + len(trials) + 2 * 3


def test_a_description_of_any_length_is_read_by_whoever_has_the_storage(journal: Path) -> None:
    text = "predictors: \N{GREEK SMALL LETTER MU}" * 200_000
    assert read_description(open_storage(str(journal)), "manifest") is None
    with open_study(journal) as study:
        assert study.description("manifest") is None
        study.describe("manifest", text)
        study.describe("manifest", "another")
        study.describe("empty", "")
    assert read_description(open_storage(str(journal)), "manifest") == text
    assert read_description(open_storage(str(journal)), "empty") == ""


def test_an_announcement_replaces_the_one_before(journal: Path) -> None:
    with open_study(journal) as study, open_study(journal) as other:
        assert other.announcement("wanted") is None
        study.announce("wanted", "60")
        study.announce("wanted", "90")
        assert other.announcement("wanted") == "90"
