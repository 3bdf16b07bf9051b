"""How fronts of several searches compare with each other and with single networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hwnas.accuracy_comparison import compare_accuracy
from hwnas.bits import pack_bits, unpack_bits
from hwnas.objectives import Objective
from hwnas.pareto import ObjectiveScale
from hwnas.units import engineering, percent

Interval = tuple[float, float, float]
"""Mean, lower and upper end."""
# the costliest network dominates something, too
_BEYOND = 1.1


@dataclass(frozen=True)
class Contender:
    """An architecture trained with several seeds and measured.

    Args:
        name: What tables call it.
        validation_accuracy: Mean over the seeds.
        correct: Which test samples each network got right, shape ``(seeds, n)``.
        metrics: Measured costs by name, such as ``latency_s``.
        answers_early: Whether some samples leave before the last exit.
    """

    name: str
    validation_accuracy: float
    correct: NDArray[np.bool_]
    metrics: Mapping[str, float]
    answers_early: bool = False

    @property
    def test_accuracy(self) -> float:
        """Mean over the seeds."""
        return float(self.correct.mean())

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        correct = [pack_bits(row) for row in self.correct]
        return {**vars(self), "correct": correct, "n": self.correct.shape[1]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contender:
        """Rebuild a contender from `to_dict`."""
        correct = np.stack([unpack_bits(text, data["n"]) for text in data["correct"]])
        early = bool(data.get("answers_early", False))
        return cls(data["name"], data["validation_accuracy"], correct, data["metrics"], early)


@dataclass(frozen=True)
class Box:
    """Where hypervolume is counted, accuracies being those of the test split."""

    scale: ObjectiveScale

    @classmethod
    def around(
        cls,
        objectives: Sequence[Objective],
        ideal: Sequence[float],
        reference: Sequence[float],
        chance: float,
        designed: Sequence[Contender],
    ) -> Box:
        """Return the box of a search, from chance on, that holds the costs of more networks.

        It ends a tenth beyond the worst cost.

        Args:
            objectives: Of the search.
            ideal: Of its own box, in the order of the objectives.
            reference: Likewise.
            chance: Accuracy of guessing.
            designed: Networks that it must hold.
        """
        ends = []
        for objective, best, worst in zip(objectives, ideal, reference, strict=True):
            if objective.name == "accuracy":
                ends.append((1.0, chance))
                continue
            costs = [best, worst, *(c.metrics[objective.metric] for c in designed)]
            if objective.direction == "minimize":
                ends.append((min(costs), _BEYOND * max(costs)))
            else:
                ends.append((max(costs), min(costs) / _BEYOND))
        best_ends, worst_ends = zip(*ends, strict=True)
        return cls(ObjectiveScale(tuple(objectives), best_ends, worst_ends))

    def hypervolume(self, contenders: Sequence[Contender]) -> float:
        """Return the share of the box that the contenders dominate."""
        if not contenders:
            return 0.0
        rows = [
            [
                c.test_accuracy if objective.name == "accuracy" else c.metrics[objective.metric]
                for objective in self.scale.objectives
            ]
            for c in contenders
        ]
        return self.scale.hypervolume(np.array(rows))


def hypervolumes(
    box: Box, fronts: Mapping[str, Sequence[Sequence[Contender]]], designed: Sequence[Contender]
) -> dict[str, list[float]]:
    """Return the hypervolume of every search by sampler, and that of the designed networks."""
    found = {
        name: [box.hypervolume(front) for front in of_seeds] for name, of_seeds in fronts.items()
    }
    return found | {"hand-designed": [box.hypervolume(designed)] * len(next(iter(found.values())))}


def savings_over(network: Contender, fronts: Sequence[Sequence[Contender]]) -> dict[str, Any]:
    """Return what the fastest member as accurate on validation takes of a network's latency.

    Returns:
        ``latency_ratio`` (``None`` where no member of a front is as accurate) and the
        difference of test accuracies with its interval, per search seed.
    """
    pairs = [_cheapest_as_accurate(network, front, "latency_s") for front in fronts]
    return {"network": network.name} | _ratios_and_differences(pairs, "latency_s")


def savings_of_exits(fronts: Sequence[Sequence[Contender]]) -> dict[str, Any]:
    """Return what the cheapest early-exit member takes of the best static one's energy.

    The best static member of a front is the most accurate one on validation that always answers
    at its last exit; beside it stands the cheapest member that answers early and is as accurate.

    Returns:
        ``energy_ratio`` (``None`` where no early-exit member is as accurate) and the difference
        of test accuracies with its interval, for each front that has a static member.
    """
    pairs = []
    for front in fronts:
        static = [m for m in front if not m.answers_early]
        if static:
            best = max(static, key=lambda m: m.validation_accuracy)
            early = [m for m in front if m.answers_early]
            pairs.append(_cheapest_as_accurate(best, early, "energy_j"))
    return _ratios_and_differences(pairs, "energy_j")


_Pair: TypeAlias = tuple[Contender | None, Contender]
"""A member, if there is one as accurate, and what it is compared with."""


def _cheapest_as_accurate(network: Contender, front: Sequence[Contender], cost: str) -> _Pair:
    reached = [m for m in front if m.validation_accuracy >= network.validation_accuracy]
    return min(reached, key=lambda m: m.metrics[cost], default=None), network


def _ratios_and_differences(pairs: Sequence[_Pair], cost: str) -> dict[str, Any]:
    ratios: list[float | None] = []
    differences = []
    for member, network in pairs:
        if member is None:
            ratios.append(None)
            continue
        ratios.append(member.metrics[cost] / network.metrics[cost])
        found = compare_accuracy(network.name, member.correct, network.correct)
        differences.append([found.difference, found.low, found.high])
    return {f"{cost.rsplit('_', 1)[0]}_ratio": ratios, "test_difference": differences}


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> Interval | None:
    """Return the geometric mean of paired ratios with a 95 % t-interval of its logarithm.

    ``None`` where a value is 0. A single pair tells no interval: its ends are 0 and infinity.
    """
    if not numerators or min(*numerators, *denominators) <= 0:
        return None
    logs = np.log(np.asarray(numerators) / np.asarray(denominators))
    mean = float(logs.mean())
    half = np.inf
    if len(logs) > 1:
        half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half))


def print_hypervolumes(
    sampler: str, volumes: Mapping[str, Sequence[float]], spent: Sequence[Mapping[str, float]]
) -> None:
    """Print a line per contestant: hypervolume, processor seconds, ratio of the sampler's."""
    print(f"{'':20} {'hypervolume':>12} {'CPU s':>8}   {sampler} / it (95 %)")
    for name, values in volumes.items():
        cpu_s = [f"{np.mean([s[name] for s in spent]):8.0f}"] if name in spent[0] else [f"{'-':>8}"]
        beside = "" if name == sampler else _shown(ratio_interval(volumes[sampler], values))
        print(f"{name:20} {np.mean(values):12.4f} {cpu_s[0]}   {beside}")


def print_savings(designed: Sequence[Contender], savings: Sequence[Mapping[str, Any]]) -> None:
    """Print a line per hand-designed network: what the fastest member as accurate saves."""
    print(f"{'at the accuracy of':30} {'test':>7} {'latency':>9}   latency / its (95 %), reached")
    for network, saved in zip(designed, savings, strict=True):
        print(
            f"{network.name:30} {percent(network.test_accuracy):>7} "
            f"{engineering(network.metrics['latency_s'], 's'):>9}   "
            f"{_ratios_shown(saved['latency_ratio'])}{_verdicts(saved['test_difference'])}"
        )


def print_exit_savings(saved: Mapping[str, Any]) -> None:
    """Print what early exits save of the energy of the best static member as accurate."""
    print(
        "early exits, at the accuracy of the best static member: energy / its (95 %), reached "
        f"{_ratios_shown(saved['energy_ratio'])}{_verdicts(saved['test_difference'])}"
    )


def _ratios_shown(ratios: Sequence[float | None]) -> str:
    found = [r for r in ratios if r is not None]
    text = _shown(ratio_interval(found, [1.0] * len(found))) if found else "-"
    return f"{text}, {len(found)} of {len(ratios)}"


def _shown(interval: Interval | None) -> str:
    if interval is None:
        return "no ratio: one is 0"
    mean, low, high = interval
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _verdicts(differences: Sequence[Sequence[float]]) -> str:
    """Return how the members' test accuracies compare with the network's."""
    if not differences:
        return ""
    mean = np.mean([d[0] for d in differences])
    worse = sum(high < 0 for _, _, high in differences)
    better = sum(low > 0 for _, low, _ in differences)
    ties = len(differences) - better - worse
    return f"; test {100 * mean:+.1f} points: {better} better, {ties} tied, {worse} worse"
