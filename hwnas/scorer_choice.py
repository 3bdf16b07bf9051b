"""Which scorer judges a candidate: the one configured, or the one that first trainings favour."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from hwnas.candidate_training import TrainingOutcome
from hwnas.ladder_text import ladder_lines
from hwnas.ranking_quality import CandidateScores, RankingSample
from hwnas.scorers import AUTO, AccuracyScorer, ScoringContext, create
from hwnas.scorers.reseeded import ReseededTraining
from hwnas.scorers.training_free import TRAINING_FREE
from hwnas.scoring_ladder import choose_ladder
from hwnas.search_budget import announced_budget
from hwnas.search_samplers import CandidateFilter
from hwnas.study import Evaluated, SearchStudy
from hwnas.training_config import AccuracyConfig
from search_spaces.encoding import encode

LADDER = "ladder"
"""Key under which a study holds how its accuracies are scored, and why."""

# of the architectures trained with several seeds, some may fail
_ENOUGH = 0.75


def can_be_chosen(study: SearchStudy, settings: AccuracyConfig) -> bool:
    """Return whether as many evaluations have ended as there are to be trained first."""
    counts = study.counts()
    return counts["evaluated"] + counts["failed"] >= settings.ranking.architectures


class ScorerChoice:
    """The scorer of each evaluation.

    Under ``auto`` the first architectures are trained with several seeds. They tell how well
    cheaper scores rank, and what pays scores the others: one worker chooses, all comply.

    Args:
        study: Of the search.
        context: What scorers work with.
        candidate_filter: Of the study's sampler; told whether it pays.
    """

    def __init__(
        self, study: SearchStudy, context: ScoringContext, candidate_filter: CandidateFilter
    ) -> None:
        self._study = study
        self._context = context
        self._filter = candidate_filter
        self._settings = context.config.accuracy
        self._chosen: AccuracyScorer | None = None
        if self._settings.scorer != AUTO:
            self._chosen = create(self._settings.scorer, context)

    def settle(self) -> None:
        """Choose, or learn what another worker chose, where it can be known by now."""
        if self._chosen is not None or not can_be_chosen(self._study, self._settings):
            return
        found = self._study.description(LADDER)
        if found is None:
            chosen = self._choice()
            if chosen is None:
                return
            self._study.describe(LADDER, json.dumps(chosen))
            found = self._study.description(LADDER) or ""
        ladder = json.loads(found)
        self._chosen = create(ladder["scorer"], self._context)
        self._filter.pays = ladder["filtered"]

    def of(self, number: int) -> AccuracyScorer:
        """Return what scores the evaluation of a number."""
        if self._settings.scorer == AUTO and self._is_first(number):
            return self._reseeded
        # until others have trained the first ones
        return self._chosen or self._full

    def _is_first(self, number: int) -> bool:
        """Return whether an evaluation is one of the first that train an architecture.

        Numbers go to proposals in vain, too: many, where workers begin at once.
        """
        count = self._settings.ranking.architectures
        return number < count or number in {e.number for e in self._study.first(count)}

    @cached_property
    def _reseeded(self) -> AccuracyScorer:
        return ReseededTraining(self._context)

    @cached_property
    def _full(self) -> AccuracyScorer:
        return create("full", self._context)

    def _choice(self) -> dict[str, object] | None:
        """Return what the first trainings favour; ``None`` where more of them are to be awaited."""
        ranking = self._settings.ranking
        first = self._study.first(ranking.architectures)
        numbers = {e.number for e in first}
        evaluated = [e for e in self._study.evaluated() if e.number in numbers]
        outcomes = [TrainingOutcome.from_dict(e.result) for e in evaluated]
        kept = [i for i, o in enumerate(outcomes) if len(o.curves) == ranking.seeds]
        if len(kept) >= _ENOUGH * ranking.architectures:
            return self._choose([evaluated[i] for i in kept], [outcomes[i] for i in kept])
        if all(e.has_ended for e in first):
            return _full_as(
                f"only {len(kept)} of the first {len(first)} architectures were trained with "
                f"{ranking.seeds} seeds, too few to judge other scores by"
            )
        return None

    def _choose(
        self, evaluated: Sequence[Evaluated], outcomes: Sequence[TrainingOutcome]
    ) -> dict[str, object]:
        config = self._context.config
        sample = RankingSample.of(outcomes)
        wanted = announced_budget(self._study).evaluations
        left = max(0, wanted - self._study.counts()["evaluated"])
        budget_cpu_s = left * sample.full.cpu_s
        choice = choose_ladder(
            sample,
            budget_cpu_s,
            config.accuracy.halving.reduction,
            config.seed,
            training_free=self._training_free(evaluated),
        )
        return {
            "scorer": choice.chosen.scorer,
            "filtered": choice.chosen.filtered,
            "lines": ladder_lines(choice),
        }

    def _training_free(self, evaluated: Sequence[Evaluated]) -> list[CandidateScores]:
        context = self._context
        if context.config.search.sampler != "pareto_guided":
            return []  # the others do not ask for them
        began = time.process_time()
        encodings = encode(context.space, [e.architecture for e in evaluated])
        values = self._filter.scores(encodings)
        each_s = (time.process_time() - began) / values.size
        return [
            CandidateScores(name, np.ascontiguousarray(values[:, i]), each_s)
            for i, name in enumerate(TRAINING_FREE)
        ]


def _full_as(reason: str) -> dict[str, object]:
    return {"scorer": "full", "filtered": False, "lines": [f"Chosen: full; {reason}."]}
