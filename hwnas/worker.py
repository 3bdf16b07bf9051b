"""One of any number of equal processes that evaluate the candidates of a search."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.candidate_training import SplitResult, TrainingTask
from hwnas.compute_energy import SpendingMeter
from hwnas.datasets import load_dataset
from hwnas.errors import UnreachableError, UserError
from hwnas.policy_points import objective_values, offer_of
from hwnas.progress import ProgressReporter, SilentProgress
from hwnas.run_folder import RunFolder
from hwnas.scorer_choice import ScorerChoice
from hwnas.scorers import ScoringContext
from hwnas.scorers.training_free import TrainingFreeScores
from hwnas.search_budget import SPENDING, Accounts
from hwnas.search_plan import PLAN, RUN_FOLDER, SearchPlan
from hwnas.search_samplers import CandidateFilter
from hwnas.search_study import location_of, open_study
from hwnas.spaces import create_space
from hwnas.storages import open_storage
from hwnas.study import Proposal, SearchStudy, SpaceExhaustedError
from hwnas.study_store import read_description

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

# how often to look whether evaluations that run elsewhere have ended
_LOOK_S = 0.5


def worker(
    location: str,
    *,
    study_name: str | None = None,
    base_dir: Path | None = None,
    patience_s: float = 0.0,
    progress: ProgressReporter | None = None,
) -> int:
    """Evaluate candidates of a search until none is left, beside any number of others.

    Args:
        location: Folder of a run, or URL of the storage that holds its study.
        study_name: The search's name; the folder tells it.
        base_dir: Folder that relative data paths start from, where it is another than that
            of the computer the search was launched on.
        patience_s: How long to wait for a storage that does not answer at first; one that
            did answer is waited for anyway.
        progress: Told of each evaluation.

    Returns:
        How many architectures this process evaluated.

    Raises:
        UserError: If there is no such search, or the data here are not those it began with.
        UnreachableError: If the storage does not answer.
    """
    import torch

    torch.set_num_threads(1)
    url, name = location_of(location, study_name)
    storage = _open_patiently(url, patience_s)
    text = read_description(storage, PLAN, name)
    if text is None:
        raise UserError(
            f"{location}: no search {name!r} is running there. "
            "Start it with hwnas search, or name another with --study."
        )
    plan = SearchPlan.from_json(text, location)
    dataset = load_dataset(plan.config.dataset, base_dir or plan.base_dir)
    if dataset.fingerprint != plan.dataset_fingerprint:
        raise UserError(
            f"{location}: the data set here is not the one that this search began with. "
            "Copy that one here; --base-dir says where relative paths start."
        )
    space = create_space(plan.config.space, dataset.input_shape, len(dataset.class_names))
    with ExitStack() as stack:
        costs = plan.costs(space)
        name_here = f"{platform.node()}:{os.getpid()}"
        scores = TrainingFreeScores(space, dataset, plan.config.seed)
        candidate_filter = CandidateFilter(
            scores.of_encodings, plan.config.accuracy.ranking.architectures
        )
        study = stack.enter_context(
            open_study(plan, storage, space, costs, name_here, candidate_filter)
        )
        folder = Path(study.announcement(RUN_FOLDER) or "")
        if not folder.is_absolute() or not folder.is_dir():
            # another computer: the search trains again what it needs the weights of
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scorers = ScorerChoice(
            study, ScoringContext(space, dataset, plan.config, folder), candidate_filter
        )
        meter = stack.enter_context(SpendingMeter())
        return Evaluator(plan, study, scorers, meter, folder, progress or SilentProgress()).run()


def _open_patiently(url: str, patience_s: float) -> BaseStorage:
    end = time.monotonic() + patience_s
    while True:
        try:
            return open_storage(url)
        except UnreachableError:
            if time.monotonic() > end:
                raise
        time.sleep(_LOOK_S)


class Evaluator:
    """The loop of a worker: claim an architecture, score its accuracy, tell.

    Args:
        plan: Of the search.
        study: Shared with all other workers.
        scorers: Of accuracies.
        meter: Of what evaluations take.
        folder: Where weights go, as in a `RunFolder`.
        progress: Told of each evaluation.
    """

    def __init__(
        self,
        plan: SearchPlan,
        study: SearchStudy,
        scorers: ScorerChoice,
        meter: SpendingMeter,
        folder: Path,
        progress: ProgressReporter,
    ) -> None:
        self._plan = plan
        self._study = study
        self._accounts = Accounts(plan, study)
        self._meter = meter
        self._scorers = scorers
        self._run = RunFolder(folder)
        self._progress = progress

    def run(self) -> int:
        """Evaluate until nothing is left to do, here or elsewhere; return how many were."""
        done = 0
        while (wanted := self._wanted()) is not None:
            self._scorers.settle()
            try:
                proposal = self._study.claim(wanted)
            except SpaceExhaustedError:
                break
            if proposal is None:
                time.sleep(_LOOK_S)
                continue
            self._evaluate(proposal)
            done += 1
        return done

    def _wanted(self) -> int | None:
        """Return how many complete evaluations there are to be; ``None`` where it is over."""
        self._accounts.update()
        budget = self._accounts.budget()
        if budget.stop.joules is not None:
            self._meter.require_energy(budget.stop.cpu_core_power_w)
        self._study.set_lease(budget.lease_s)
        if self._accounts.stop_reason(budget) is not None:
            return None
        counts, wanted = self._study.counts(), self._accounts.wanted(budget)
        # more failures than the whole budget: the settings are at fault, not the luck
        if counts["evaluated"] >= wanted or counts["failed"] > budget.evaluations:
            return None
        return wanted

    def _evaluate(self, proposal: Proposal) -> None:
        rungs = _ProposalRungs(self._plan, self._study, proposal)
        self._meter.begin()
        outcome = self._scorers.of(proposal.number).score(self._task(proposal), rungs)
        spending = {SPENDING: self._meter.end(outcome.cpu_s).to_dict()}
        if outcome.validation is None:
            result = {**outcome.to_dict(), **spending}
            self._study.fail(proposal, outcome.failure or "no result", result)
        elif outcome.halted:
            result = {**outcome.to_dict(), **spending}
            self._study.prune(proposal, f"halted after {outcome.epochs} epochs", result)
        else:
            plan = self._plan
            offer = offer_of(outcome, proposal.costs, plan.objectives, plan.constraints)
            outcome = offer.outcome
            result = {**outcome.to_dict(), **spending}
            self._study.complete(proposal, offer.values, result, offer.violations, offer.points)
        self._progress.advance(outcome.note)

    def _task(self, proposal: Proposal) -> TrainingTask:
        return TrainingTask(
            architecture=proposal.architecture,
            seed=self._plan.training_seed(proposal.number),
            stage_costs=proposal.costs.mean_stage_latency_s,
            checkpoint=self._run.checkpoint(proposal.architecture.arch_id),
        )


class _ProposalRungs:
    """What one evaluation tells the others at rungs of its training, and learns from them."""

    def __init__(self, plan: SearchPlan, study: SearchStudy, proposal: Proposal) -> None:
        self._plan, self._study, self._proposal = plan, study, proposal

    def losses(self, validation: SplitResult) -> tuple[float, ...]:
        """See `Rungs`."""
        values = objective_values(validation, self._proposal.costs, self._plan.objectives)
        return tuple(self._plan.scale.losses(np.array([values]))[0].tolist())

    def report(self, rung: int, losses: tuple[float, ...]) -> None:
        """See `Rungs`."""
        self._study.report_rung(self._proposal, rung, losses)

    def others(self, rung: int) -> list[tuple[float, ...]]:
        """See `Rungs`."""
        found = self._study.rung_values(rung)
        return [losses for number, losses in found.items() if number != self._proposal.number]
