"""Choose how accuracies are scored: the ladder of scores that gains most for its cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hwnas.ranking_quality import (
    CandidateScores,
    Estimate,
    RankingSample,
    RankQuality,
    cross_seed,
    rank_quality,
    resampled,
    spearman,
)

FILTER_SHARE = 0.1
"""Of candidates that are scored without training, the share that is trained."""

SURE = 0.95
"""How likely another ladder must gain more than full training to replace it."""

_RESAMPLES = 100
_REPEATS = 200
# the best of more gains little: the expected maximum grows as the root of twice their logarithm
_MOST_CANDIDATES = 500
# of singular values, the least that is more than rounding: below it scores tell the same
_SAME = 1e-6


@dataclass(frozen=True)
class Stage:
    """One score of a ladder.

    Args:
        scores: Of the architectures of the sample.
        cpu_s: Processor seconds that it takes beyond the stage before.
        kept: Share of its candidates that goes on; of the last one, the best is taken.
    """

    scores: CandidateScores
    cpu_s: float
    kept: float = 1.0


@dataclass(frozen=True)
class Ladder:
    """Scores one after the other, each on what the one before keeps.

    Args:
        scorer: Registered name of the scorer that does it.
        filtered: Whether training-free scores choose what the scorer gets.
        stages: In execution order.
        once_cpu_s: Processor seconds before the first candidate.
    """

    scorer: str
    filtered: bool
    stages: tuple[Stage, ...]
    once_cpu_s: float = 0.0

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"filter, {self.scorer}" if self.filtered else self.scorer

    @property
    def cpu_s(self) -> float:
        """Expected processor seconds per candidate that enters."""
        shares = np.cumprod([1.0, *(stage.kept for stage in self.stages[:-1])])
        return float(sum(s * stage.cpu_s for s, stage in zip(shares, self.stages, strict=True)))

    def candidates(self, budget_cpu_s: float) -> int:
        """Return how many candidates can enter for a budget."""
        return max(0, int((budget_cpu_s - self.once_cpu_s) / self.cpu_s))


@dataclass(frozen=True)
class LadderQuality:
    """What a ladder is expected to give.

    Args:
        ladder: Which one.
        candidates: How many enter for the budget.
        gain: Accuracy under another seed of what it picks, in standard deviations of the
            architectures' accuracies above their mean.
        chance: That it gains more than full training.
    """

    ladder: Ladder
    candidates: int
    gain: Estimate
    chance: float


@dataclass(frozen=True)
class LadderChoice:
    """The ladder to use, and what speaks for it.

    Args:
        chosen: The ladder.
        considered: All of them, full training first.
        scores: How well every single score ranks, the ceiling last.
        sample: What they were judged on.
    """

    chosen: Ladder
    considered: tuple[LadderQuality, ...]
    scores: tuple[RankQuality, ...]
    sample: RankingSample

    @property
    def has_order(self) -> bool:
        """Whether the ceiling's interval lies above 0: trainings order architectures."""
        return self.scores[-1].spearman.low > 0  # not of NaN, where all accuracies are equal


def choose_ladder(
    sample: RankingSample,
    budget_cpu_s: float,
    reduction: int,
    seed: int,
    *,
    training_free: Sequence[CandidateScores] = (),
    inherited: CandidateScores | None = None,
) -> LadderChoice:
    """Choose among full training, halving, a filter before either, and a supernet.

    The rule: all ladders get the same processor seconds, so that a cheaper one sees more
    candidates. Each picks one candidate; its gain is the accuracy that is expected of the pick
    under another seed. Scores are drawn from a normal copula with the sample's rank
    correlations, anew for each sample. Another ladder than full training is chosen if it gains
    more in at least `SURE` of the samples bootstrapped from this one, and does so without its
    filter, too; of several such, the one that gains most.
    Where the ceiling's interval holds 0, accuracies judge nothing, and full training stays.
    Candidates are taken to be drawn as the sample was: where a search has narrowed them down,
    cheap scores tell less.

    Args:
        sample: Architectures trained with several seeds.
        budget_cpu_s: Processor seconds left for the search.
        reduction: Of successive halving.
        seed: Of bootstrap and simulation.
        training_free: Scores of the sample's architectures; the filter is their mean rank.
        inherited: Accuracies of the sample's architectures in a supernet, where one was trained to
            see what it is worth; a search trains none to choose by.
    """
    ladders = _ladders(sample, reduction, training_free, inherited)
    drawn = resampled(len(sample.accuracy), _RESAMPLES, seed)
    every = np.vstack([np.arange(len(sample.accuracy)), drawn])
    counts = [min(ladder.candidates(budget_cpu_s), _MOST_CANDIDATES) for ladder in ladders]
    gains = [
        _gains(ladder, n, sample.accuracy, every, seed)
        for ladder, n in zip(ladders, counts, strict=True)
    ]
    considered = tuple(
        LadderQuality(
            ladder,
            ladder.candidates(budget_cpu_s),
            Estimate(float(gain[0]), *map(float, np.percentile(gain[1:], [2.5, 97.5]))),
            float(np.mean(gain[1:] > gains[0][1:])),
        )
        for ladder, gain in zip(ladders, gains, strict=True)
    )
    singles = (*training_free, *([inherited] if inherited else ()), *sample.rungs)
    scores = tuple(rank_quality(score, sample.accuracy, seed) for score in singles)
    choice = LadderChoice(ladders[0], considered, scores, sample)
    return replace(choice, chosen=surest(considered)) if choice.has_order else choice


def surest(considered: Sequence[LadderQuality]) -> Ladder:
    """Return what gains most of those that surely gain more than the first, full training.

    A scorer must be sure without a filter, too: what samplers make of training-free scores is
    not this filter, and may be nothing.
    """
    full, *others = considered
    sure = {full.ladder.name, *(q.ladder.name for q in others if q.chance >= SURE)}
    surer = [q for q in others if {q.ladder.name, q.ladder.scorer} <= sure]
    return max(surer, key=lambda quality: quality.gain.value, default=full).ladder


def mean_rank(scores: Sequence[CandidateScores]) -> CandidateScores:
    """Join scores by the mean of their ranks, which needs no scale."""
    ranks = np.mean([stats.rankdata(score.values) for score in scores], axis=0)
    return CandidateScores("mean rank", ranks, sum(score.cpu_s for score in scores))


def _ladders(
    sample: RankingSample,
    reduction: int,
    training_free: Sequence[CandidateScores],
    inherited: CandidateScores | None,
) -> list[Ladder]:
    before = [0.0, *(rung.cpu_s for rung in sample.rungs)]
    halving = tuple(
        Stage(rung, rung.cpu_s - spent, 1 / reduction)
        for rung, spent in zip(sample.rungs, before, strict=False)
    )
    trained = [("full", (Stage(sample.full, sample.full.cpu_s),)), ("halving", halving)]
    ladders = [Ladder(name, False, stages) for name, stages in trained]
    if training_free:
        score = mean_rank(training_free)
        first = Stage(score, score.cpu_s, FILTER_SHARE)
        ladders += [Ladder(name, True, (first, *stages)) for name, stages in trained]
    if inherited is not None:
        stage = Stage(inherited, inherited.cpu_s)
        ladders.append(Ladder("supernet", False, (stage,), inherited.once_cpu_s))
    return ladders


def _gains(
    ladder: Ladder,
    n: int,
    accuracy: NDArray[np.float64],
    drawn: NDArray[np.intp],
    seed: int,
) -> NDArray[np.float64]:
    """Return the gain of a ladder for n candidates, by each draw of architectures."""
    if n < 1:
        return np.zeros(len(drawn))
    values = [stage.scores.values for stage in ladder.stages]
    joint = _joint_correlations(values, accuracy, drawn)
    # each with draws of its own: an error common to all of them would look like a sure gain
    rng = np.random.default_rng(seed)
    return np.array([_gain(ladder.stages, n, matrix, rng) for matrix in joint])


def _gain(
    stages: Sequence[Stage], n: int, joint: NDArray[np.float64], rng: np.random.Generator
) -> float:
    """Return the mean accuracy expected of what the stages pick of n candidates."""
    root = _root(joint)
    scores, accuracy = root[:-1], root[-1]
    left = rng.standard_normal((_REPEATS, n, len(root))) @ scores.T
    for i, stage in enumerate(stages):
        last = i == len(stages) - 1
        keep = 1 if last else math.ceil(left.shape[1] * stage.kept)
        best = np.argpartition(-left[:, :, i], keep - 1, axis=1)[:, :keep]
        left = np.take_along_axis(left, best[:, :, None], axis=1)
    # an accuracy's own share of chance is not drawn: it has no part in the choice
    expected = left[:, 0] @ (accuracy @ np.linalg.pinv(scores, rcond=_SAME))
    return float(expected.mean())


def _joint_correlations(
    values: Sequence[NDArray[np.float64]],
    accuracy: NDArray[np.float64],
    drawn: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return rank correlations of scores, and in the last place of accuracies of another seed.

    Where everything ties there is no correlation: 0.
    """
    size = len(values) + 1
    joint = np.tile(np.eye(size), (len(drawn), 1, 1))
    for i, one in enumerate(values):
        joint[:, i, -1] = joint[:, -1, i] = cross_seed(spearman, one, accuracy, drawn)
        for j, other in enumerate(values[:i]):
            columns = np.broadcast_arrays(one.T, other.T)
            pairs = zip(*(np.atleast_2d(c) for c in columns), strict=True)
            same_seed = [spearman(x[drawn], y[drawn]) for x, y in pairs]
            joint[:, i, j] = joint[:, j, i] = np.mean(same_seed, axis=0)
    return np.nan_to_num(joint)


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return R with ``R R^T`` the nearest correlation matrix that exists, nearly."""
    values, vectors = np.linalg.eigh(matrix)
    root = vectors * np.sqrt(np.maximum(values, 0))
    return np.asarray(root / np.linalg.norm(root, axis=1, keepdims=True), dtype=np.float64)
