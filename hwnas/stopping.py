"""When a search ends before its evaluations are spent, and the one sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, log1p

import numpy as np

from hwnas.compute_energy import Spent
from hwnas.pareto import ObjectiveScale, is_non_dominated
from hwnas.stop_config import PlateauConfig, StopConfig


@dataclass(frozen=True)
class Plateau:
    """A front that has ceased to grow.

    Args:
        rule: That says so.
        evaluations: How many in a row did not gain ``rule.min_gain``.
        gained: What they gained together, as a share of the hypervolume.
    """

    rule: PlateauConfig
    evaluations: int
    gained: float

    def __str__(self) -> str:
        rule = self.rule
        return (
            f"plateau: the last {self.evaluations} evaluations gained {100 * self.gained:.2g} % "
            f"of hypervolume; with {100 * rule.confidence:g} % confidence the chance that the "
            f"next one gains {100 * rule.min_gain:g} % is below {100 * rule.chance:g} %, "
            "if it is no likelier to gain than those were"
        )


def chance_bound(failures: int, confidence: float) -> float:
    """Return the upper confidence bound of a chance that failed every time it was tried.

    ``1 - (1 - confidence)^(1 / failures)``.

    References:
        Clopper & Pearson (1934), The use of confidence or fiducial limits illustrated in the
        case of the binomial, at no success. doi:10.1093/biomet/26.4.404
    """
    return float(-np.expm1(np.log1p(-confidence) / failures))


def evaluations_needed(gains: int, chance: float, confidence: float) -> int:
    """Return how many evaluations without a gain, in a row, tell that its chance is small.

    The least k whose `chance_bound` is at most ``chance``, at a confidence that grows with the
    number of gains before: who waits for a long run of failures finds one at last, whatever
    the chance. The run after the j-th gain may be wrong with a probability of
    ``(1 - confidence) / (j (j + 1))``; over all j these add up to ``1 - confidence``, so that
    the statement holds though it is tried after every evaluation.

    Args:
        gains: Before the run, at least 1.
        chance: Of a gain.
        confidence: Of the statement.
    """
    error = (1 - confidence) / (gains * (gains + 1))
    return ceil(log(error) / log1p(-chance))


def plateau(history: Sequence[float], rule: PlateauConfig) -> Plateau | None:
    """Tell whether a front has ceased to grow, with the confidence that the rule wants.

    Evaluations count that gained ``rule.min_gain`` of the hypervolume. A plateau is a run
    of `evaluations_needed` without one, which have not gained as much together either. Then,
    with probability ``rule.confidence`` over the whole search, a plateau is only stated where
    the chance of such a gain at the next evaluation is below ``rule.chance``; assumed is that
    the chance was no smaller at those of the run.

    Args:
        history: Hypervolume after each evaluation; it never shrinks.
        rule: What to state.
    """
    volumes = np.asarray(history, dtype=np.float64)
    steps = np.diff(volumes, prepend=0.0)
    gains = np.flatnonzero((steps > 0) & (steps >= rule.min_gain * volumes))
    if not len(gains):
        # no front yet
        return None
    needed = evaluations_needed(len(gains), rule.chance, rule.confidence)
    if len(volumes) - 1 - gains[-1] < needed:
        return None
    gained = float(1 - volumes[-1 - needed] / volumes[-1])
    return Plateau(rule, needed, gained) if gained < rule.min_gain else None


class HypervolumeHistory:
    """Hypervolume after each evaluation, without starting over at each one.

    Args:
        scale: Of the objectives.
    """

    def __init__(self, scale: ObjectiveScale) -> None:
        self._scale = scale
        self._fronts = [np.empty((0, len(scale.objectives)))]
        self.volumes: list[float] = []
        """One per evaluation."""

    def add(self, points: Sequence[Sequence[float]]) -> None:
        """Add an evaluation.

        Args:
            points: Values that it reached, one per objective in each; none for what meets no
                limit, or failed.
        """
        front = self._fronts[-1]
        rows = np.vstack([front, *points])
        kept = is_non_dominated(self._scale.losses(rows))
        if kept[len(front) :].any():
            self._fronts.append(rows[kept])
            self.volumes.append(self._scale.hypervolume(rows[kept]))
        else:
            self._fronts.append(front)
            self.volumes.append(self.volumes[-1] if self.volumes else 0.0)

    def cut(self, n: int) -> None:
        """Forget all evaluations after the first ``n``."""
        del self._fronts[n + 1 :], self.volumes[n:]


def stop_reason(config: StopConfig, spent: Spent, history: Sequence[float]) -> str | None:
    """Return why a search should end now, as part of a sentence, if it should.

    Args:
        config: Section ``search.stop``.
        spent: On evaluations, by all workers and before all interruptions.
        history: Hypervolume after each evaluation.
    """
    if config.seconds is not None and spent.seconds >= config.seconds:
        return f"{spent.seconds:.4g} s of {config.seconds:g} s are spent"
    if config.joules is not None:
        energy = spent.energy(config.cpu_core_power_w)
        if energy is not None and energy.joules >= config.joules:
            return f"{energy.joules:.4g} J ({energy.provenance}) of {config.joules:g} J are spent"
    if config.plateau is not None:
        found = plateau(history, config.plateau)
        return None if found is None else str(found)
    return None
