"""After the study: measure the front on the target, retrain the finalists, judge the front.

No choice sees the test split. Architectures, exit policies, finalists and front members are
chosen by the validation split and by costs; which seed is deployed is fixed beforehand. The test
split tells how accurate what was chosen is, and which finalists differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.accuracy_comparison import Standing, compare_all
from hwnas.candidate_metrics import measured_candidate
from hwnas.candidate_training import TrainingOutcome, judge_on_test, load_network
from hwnas.errors import UnreachableError
from hwnas.expected_accuracy import without_luck
from hwnas.front import Candidate, Deployment, ParetoFront
from hwnas.front_energy import with_energies
from hwnas.lost_weights import as_restored, restore_weights
from hwnas.objectives import Constraint
from hwnas.pareto import is_non_dominated
from hwnas.policy_points import with_best_policies
from hwnas.retraining import correct_on_test, next_finalists, retrain
from hwnas.search_context import SearchContext
from hwnas.study import Evaluated
from hwnas.training_pool import TrainingPool
from latency_predictors import MeasuredArchitecture, measure_network
from latency_predictors.measured_architecture import DEPLOYED_TIMINGS
from latency_predictors.records import MeasurementRecords
from targets import Failure, MeasureConfig

if TYPE_CHECKING:
    from torch import nn

FRONT_PHASE = "front"


def measured_front(context: SearchContext, trainers: TrainingPool) -> ParetoFront:
    """Measure the front, retrain finalists with several seeds, and judge all by the results.

    A finalist whose lucky number was not confirmed may leave the front to others, which are
    measured and retrained then, until the front is confirmed or as many are retrained as wanted.

    Raises:
        UnreachableError: If no front member could be measured.
    """
    measuring = _FrontMeasurement(context, trainers)
    retrained: dict[str, dict[int, TrainingOutcome]] = {}
    while True:
        front = _front_of(context, measuring.until_stable())
        if not front.candidates:
            raise UnreachableError(
                f"no front member could be measured on {context.target.name!r}. "
                f"Check: hwnas targets check {context.target.name}"
            )
        finalists = next_finalists(front, context.config.finalists.count, retrained.keys())
        if not finalists:
            break
        new = retrain(context, trainers, finalists)
        for arch_id, outcomes in new.items():
            measuring.replace_training(arch_id, outcomes)
        retrained |= new
    standings = compare_all(correct_on_test(retrained))
    compared = [
        replace(c, standing=standings.get(c.architecture.arch_id, Standing()))
        for c in front.candidates
    ]
    return _front_of(context, compared)


def front_timing(constraints: Sequence[Constraint]) -> MeasureConfig:
    """Return how front members are timed: at length where a limit judges their slow tail.

    An upper bound of the P99 of a path through four stages takes 1,751 inferences of each.
    """
    usual = MeasureConfig()
    if not any(c.metric == "worst_latency_p99_s" for c in constraints):
        return usual
    longer = usual.max_samples / usual.min_samples
    return replace(usual, min_samples=usual.max_samples, timeout_s=longer * usual.timeout_s)


def _front_of(context: SearchContext, candidates: Sequence[Candidate]) -> ParetoFront:
    return ParetoFront.of(candidates, context.objectives, context.constraints, context.scale)


def _accurate_enough(context: SearchContext) -> list[Evaluated]:
    """Return what is expected to meet ``min_accuracy``; the most accurate one where nothing is.

    Each under the exit policy that speaks for it now that all points are known.
    """
    floor = context.config.constraints.min_accuracy or 0.0

    def accuracy(evaluated: Evaluated) -> float:
        return float(evaluated.result["validation"]["accuracy"]) - evaluated.luck

    expected = without_luck(context, context.study.evaluated())
    evaluated = with_best_policies(expected, context.scale)
    kept = [e for e in evaluated if accuracy(e) >= floor]
    if not kept:
        kept = [max(evaluated, key=accuracy)]
        context.progress.message(
            f"No architecture is expected to reach constraints.min_accuracy {floor:g}: the best "
            f"came to {accuracy(kept[0]) + kept[0].luck:.4f} once, and other seeds are expected to "
            f"reach {accuracy(kept[0]):.4f}. Train longer, or lower it."
        )
    return kept


class _FrontMeasurement:
    """Measures trained networks until every member of the front is a measured one."""

    def __init__(self, context: SearchContext, trainers: TrainingPool) -> None:
        self._context = context
        self._trainers = trainers
        self._evaluated = {
            e.architecture.arch_id: as_restored(context, e) for e in _accurate_enough(context)
        }
        self._records = MeasurementRecords(context.run.measurements)
        # a longer search, resumed, may have measured what is no longer accurate enough
        self._measured: dict[str, MeasuredArchitecture] = {
            m.architecture.arch_id: m
            for m in self._records.measured(context.space, FRONT_PHASE)
            if m.architecture.arch_id in self._evaluated
        }
        self._candidates: dict[str, Candidate] = {}
        for arch_id in self._measured:
            self._add(arch_id, self._network(arch_id))
        self._failed: set[str] = set()

    def until_stable(self) -> list[Candidate]:
        """Measure the predicted front, judge again by what was measured, until nothing is new."""
        while wanted := self._unmeasured_on_front():
            wanted = self._with_weights(wanted)
            self._context.progress.phase("Measuring the front", len(wanted))
            for arch_id, result in with_energies(
                self._context, self._measure(wanted), self._network
            ):
                self._keep(arch_id, result)
        return self.candidates()

    def _with_weights(self, wanted: Sequence[str]) -> list[str]:
        restored = restore_weights(
            self._context, self._trainers, [self._evaluated[i] for i in wanted]
        )
        kept = {e.architecture.arch_id: e for e in restored}
        self._evaluated |= kept
        self._failed |= set(wanted) - kept.keys()
        return list(kept)

    def candidates(self) -> list[Candidate]:
        """Return all measured candidates."""
        return list(self._candidates.values())

    def replace_training(self, arch_id: str, outcomes: Mapping[int, TrainingOutcome]) -> None:
        """Judge a candidate by several trainings; the first seed's network is deployed."""
        if not outcomes:
            return
        seed, first = next(iter(outcomes.items()))
        checkpoint = self._context.run.checkpoint(arch_id, seed)
        searched = TrainingOutcome.from_dict(self._evaluated[arch_id].result)
        self._candidates[arch_id] = self._candidate(
            arch_id, searched, list(outcomes.values()), _deployment(checkpoint, seed, first)
        )

    def _unmeasured_on_front(self) -> list[str]:
        context = self._context
        ids, values = [], []
        for arch_id, evaluated in self._evaluated.items():
            if arch_id in self._failed:
                continue
            candidate = self._candidates.get(arch_id)
            if candidate is None:
                values.append(list(evaluated.values))
            elif _front_of(context, [candidate]).members:
                values.append(candidate.values(context.objectives))
            else:
                continue
            ids.append(arch_id)
        if not ids:
            return []
        keep = is_non_dominated(context.scale.losses(np.array(values)))
        return [i for i, k in zip(ids, keep, strict=True) if k and i not in self._measured]

    def _measure(self, wanted: Sequence[str]) -> Iterator[tuple[str, MeasuredArchitecture]]:
        context = self._context
        for arch_id in wanted:
            architecture = self._evaluated[arch_id].architecture
            network = self._network(arch_id)
            result = measure_network(
                context.target,
                context.space,
                architecture,
                network,
                config=front_timing(context.constraints),
                timings=DEPLOYED_TIMINGS,
                fresh=True,
            )
            if isinstance(result, Failure):
                self._failed.add(arch_id)
                self._records.append(FRONT_PHASE, architecture, result)
                context.progress.message(f"{arch_id}: {result.stage} failed: {result.message}")
                context.progress.advance("failed")
                continue
            context.progress.advance(f"{1e3 * result.latency_s:.3f} ms")
            yield arch_id, result

    def _keep(self, arch_id: str, result: MeasuredArchitecture) -> None:
        architecture = self._evaluated[arch_id].architecture
        self._records.append(FRONT_PHASE, architecture, result.measurements)
        self._measured[arch_id] = result
        self._add(arch_id, self._network(arch_id))

    def _network(self, arch_id: str) -> nn.Module:
        context, architecture = self._context, self._evaluated[arch_id].architecture
        return load_network(context.space, architecture, context.run.checkpoint(arch_id))

    def _add(self, arch_id: str, network: nn.Module) -> None:
        context, evaluated = self._context, self._evaluated[arch_id]
        outcome = TrainingOutcome.from_dict(evaluated.result)
        outcome = judge_on_test(outcome, network, context.dataset)
        seed = context.training_seed(evaluated.number)
        deployment = _deployment(context.run.checkpoint(arch_id), seed, outcome)
        self._candidates[arch_id] = self._candidate(arch_id, outcome, [], deployment)

    def _candidate(
        self,
        arch_id: str,
        searched: TrainingOutcome,
        retrained: Sequence[TrainingOutcome],
        deployment: Deployment,
    ) -> Candidate:
        context, evaluated = self._context, self._evaluated[arch_id]
        return measured_candidate(
            evaluated,
            searched,
            retrained,
            deployment,
            self._measured[arch_id],
            context.costs.predict([evaluated.architecture])[0],
            context.space,
            context.target.spec.energy_model,
            context.config.product,
        )


def _deployment(checkpoint: Path, seed: int, outcome: TrainingOutcome) -> Deployment:
    shares = outcome.validation.exit_shares if outcome.validation else (1.0,)
    return Deployment(checkpoint.name, seed, outcome.policy, shares, outcome.max_accuracy_drop)
