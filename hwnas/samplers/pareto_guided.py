"""An Optuna sampler that proposes what is expected to enlarge the hypervolume most."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from hwnas.samplers.candidate_costs import CostFunction
from hwnas.samplers.candidates import CandidateSpace, Canonicalize, Encode
from hwnas.samplers.grid import Grid, Rows, row_keys
from hwnas.samplers.guided_proposals import GuidedProposals, History, Refine
from hwnas.samplers.loss_scale import LossScale

if TYPE_CHECKING:
    from hwnas.pareto import ObjectiveScale

OTHER_VALUES = "other_values"
"""System attribute of a trial: rows of values that its candidate can have, too, within limits."""

# by the number of trials before a block: it has so many as this part of them, if more than the
# batch. The more are known, the less the next ones change of that
_PARTS = ((0, 20), (300, 10), (1000, 5))


class ParetoGuidedSampler(BaseSampler):
    """Learns objectives, and proposes candidates by expected hypervolume improvement.

    For studies of any number of objectives over one fixed, finite space. What can be predicted
    before an evaluation (``costs``) is not learned: neither are candidates proposed that exceed
    a hard limit.

    Trials are proposed in blocks, which grow with their number. A block follows from the seed,
    its first trial's number, and the trials before it: those that had ended when its first one
    was made, by their values, the others as awaited. So an interrupted study goes on as if it
    had not been, and workers that share a storage propose different candidates: that of a
    trial is at its own place in the block. No trial repeats another one whose parameters are
    known, whatever its state, until every candidate has been tried; then they are drawn at random.

    A candidate whose evaluation gives it a choice of values has one of them as its trial's
    values, which are learned from. The others, under the attribute `OTHER_VALUES`, count
    towards the hypervolume that is reached.

    Parameters that are not in ``distributions`` are drawn at random.

    Args:
        distributions: Of all parameters; categorical or of integers.
        seed: Of all randomness.
        costs: Predicts objectives, and whether hard limits are met.
        canonicalize: Maps rows of positions to the rows that stand for them, shape ``(n, d)``
            to ``(n, d)``: of candidates that differ in choices without effect, one is tried.
        encode: Canonical rows to groups of features that the objectives depend on, each of
            shape ``(n, f)``. By default one: integers from 0 to 1, categories as indicators.
            Logarithms of predicted costs are another group.
        noise_std: Of each objective, in its unit: standard deviation of an evaluation about
            the mean of evaluating again and again; NaN where it is not known. What the features
            do not tell is then taken for noise, so a candidate's luck is neither hoped for nor
            believed; otherwise what they do not tell beyond the noise is the candidate's own.
            Without it there is no noise.
        batch: Size of the first blocks.
        refine: Further features, shape ``(n, f)``, too costly to have of every candidate: asked
            for a short list and for what was evaluated, and used if they foretell objectives
            of trials that were left out.
        scale: What a gain in hypervolume is measured in; spans what is observed and predicted
            where there is none.

    Raises:
        ValueError: For a parameter that is neither categorical nor of integers.

    References:
        Emmerich, Giannakoglou & Naujoks (2006), Single- and multiobjective evolutionary
        optimization assisted by Gaussian random field metamodels (expected hypervolume
        improvement), Sec. V. doi:10.1109/TEVC.2005.859463
    """

    def __init__(
        self,
        *,
        distributions: Mapping[str, BaseDistribution],
        seed: int,
        costs: CostFunction | None = None,
        canonicalize: Canonicalize | None = None,
        encode: Encode | None = None,
        noise_std: Sequence[float] | None = None,
        batch: int = 5,
        refine: Refine | None = None,
        scale: ObjectiveScale | None = None,
    ) -> None:
        self._distributions = dict(distributions)
        self._grid = Grid(self._distributions)
        self._seed = seed
        self._canonical = canonicalize or _unchanged
        self._space = (costs, self._canonical, encode)
        self._noise_std = noise_std
        self._refine = refine
        self._scale = None if scale is None else LossScale.of_objectives(scale)
        self._batch = batch
        # canonical keys of the rows of trials
        self._keys: dict[tuple[int, ...], bytes] = {}
        # threads of `Study.optimize` share a block
        self._lock = threading.Lock()
        self._begin(None)

    def _begin(self, study: Study | None) -> None:
        """Forget what belongs to another study."""
        self._study = study
        self._guide: GuidedProposals | None = None
        self._block_start = -1
        self._block: Rows = np.empty((0, len(self._grid.sizes)), dtype=np.intp)
        # keys of the trials of this block and later ones, by number
        self._since: dict[int, bytes] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lock": None, "_study": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the fixed space; see `optuna.samplers.BaseSampler`."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the parameters of a trial; see `optuna.samplers.BaseSampler`."""
        with self._lock:
            return self._proposed(study, trial)

    def _proposed(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        if study is not self._study:
            self._begin(study)
        trials = study.get_trials(deepcopy=False)
        guide = self._guided(study)
        start, size = self._block_of(trial.number)
        if start != self._block_start:
            history = self._history(trials, start, len(study.directions))
            rng = np.random.default_rng([self._seed, start])
            # matrices are small: threads cost more than they give
            with threadpool_limits(limits=1, user_api="blas"):
                self._block, self._block_start = guide.propose(history, size, rng), start
            self._since = {}
        row = self._free_row(guide, trials, trial.number, size)
        return self._grid.parameters(row.tolist())

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a parameter that is none of the space; see `optuna.samplers.BaseSampler`."""
        stream = [self._seed, trial.number, *param_name.encode()]
        seed = int(np.random.SeedSequence(stream).generate_state(1)[0])
        sampler = RandomSampler(seed=seed)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Do nothing: all randomness derives from the seed and the number of the trial."""

    def _block_of(self, number: int) -> tuple[int, int]:
        """Return the first trial and the size of the block that a trial belongs to."""
        start = 0
        while True:
            part = next(part for many, part in reversed(_PARTS) if start >= many)
            size = max(self._batch, start // part)
            if number < start + size:
                return start, size
            start += size

    def _free_row(
        self, guide: GuidedProposals, trials: Sequence[FrozenTrial], number: int, size: int
    ) -> Rows:
        """Return the row at a trial's place in its block, or another if a trial has that one."""
        new = [t for t in trials[self._block_start :] if t.number not in self._since]
        found = zip(new, self._keys_of(new), strict=True)
        self._since.update((t.number, key) for t, key in found if key is not None)
        taken = set(self._since.values())
        own = self._block[number - self._block_start :: size]
        for row, key in zip(own, row_keys(own), strict=True):
            if key not in taken:
                return np.asarray(row)
        everything = frozenset(key for key in self._keys_of(trials) if key is not None)
        return guide.any_row(everything, np.random.default_rng([self._seed, number, size]))

    def _history(self, trials: Sequence[FrozenTrial], start: int, n_objectives: int) -> History:
        """Return what was known when the first trial of a block was made."""
        moment = next((t.datetime_start for t in trials if t.number == start), None)
        before = [trial for trial in trials if trial.number < start]
        keys = self._keys_of(before)
        evaluated: dict[bytes, FrozenTrial] = {}
        pending: dict[bytes, None] = {}
        for trial, key in zip(before, keys, strict=True):
            if key is None:
                continue
            if not _had_ended(trial, moment):
                pending[key] = None
            elif trial.state == TrialState.COMPLETE and np.isfinite(trial.values).all():
                evaluated.setdefault(key, trial)
        values = [trial.values for trial in evaluated.values()]
        others, others_of = [], []
        for place, trial in enumerate(evaluated.values()):
            rows = trial.system_attrs.get(OTHER_VALUES, ())
            others += rows
            others_of += [place] * len(rows)
        feasible = [all(v <= 0 for v in t.constraints.values()) for t in evaluated.values()]
        return History(
            rows=self._rows(list(evaluated)),
            values=np.array(values, dtype=np.float64).reshape(-1, n_objectives),
            others=np.array(others, dtype=np.float64).reshape(-1, n_objectives),
            others_of=np.array(others_of, dtype=np.intp),
            is_feasible=np.array(feasible, dtype=np.bool_),
            pending=self._rows([key for key in pending if key not in evaluated]),
            taken=frozenset(key for key in keys if key is not None),
        )

    def _keys_of(self, trials: Sequence[FrozenTrial]) -> list[bytes | None]:
        """Return keys of canonical rows of trials; ``None`` for those that are none of the grid."""
        rows = [self._grid.row(trial.params) for trial in trials]
        new = list(dict.fromkeys(r for r in rows if r is not None and r not in self._keys))
        if new:
            canonical = self._canonical(np.array(new, dtype=np.intp))
            self._keys.update(zip(new, row_keys(canonical), strict=True))
        return [None if row is None else self._keys[row] for row in rows]

    def _rows(self, keys: Sequence[bytes]) -> Rows:
        flat = np.frombuffer(b"".join(keys), dtype=np.int32)
        return flat.reshape(-1, len(self._grid.sizes)).astype(np.intp)

    def _guided(self, study: Study) -> GuidedProposals:
        if self._guide is None:
            signs = [1.0 if d == StudyDirection.MINIMIZE else -1.0 for d in study.directions]
            space = CandidateSpace(self._grid, len(signs), *self._space)
            noise_std = np.zeros(len(signs)) if self._noise_std is None else self._noise_std
            self._guide = GuidedProposals(
                space, np.array(signs), np.asarray(noise_std), self._scale, self._refine
            )
        return self._guide


def _unchanged(rows: Rows) -> Rows:
    return rows


def _had_ended(trial: FrozenTrial, moment: datetime | None) -> bool:
    if not trial.state.is_finished():
        return False
    return moment is None or trial.datetime_complete is None or trial.datetime_complete <= moment
