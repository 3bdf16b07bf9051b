"""What luck costs a search: accuracies of which every training shows another one.

    HWNAS_DATA=FOLDER python experiments/benchmarks/noisy_search.py [--seeds 8] [--noise 3]
        [--least 0.4] [--evaluations 60 120] [--methods guided,ignorant,random] [--json OUT]

The slices of search.py, but that a look-up tells an accuracy with Gaussian noise of ``--noise`` in
its unit, once for each cell; hypervolume counts above the accuracy that a share ``--least`` of the
cells stays below. ``guided`` takes what features do not tell for noise, as searches do;
``ignorant`` is the same sampler, which takes it for the candidate's own. Of what was looked up,
a front is chosen: by what was told, or by what other seeds are expected to reach, as searches
choose their finalists. A figure is the hypervolume of the chosen by their true accuracies, over
that of the exact front; ``all`` is that of all that was looked up, which no choice can exceed.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler
from search import PARAMETERS, SLICES, look_up
from search_slices import CELLS, CalibratedCosts, Slice, encode, load_slice

from hwnas.builtin_samplers import builtin_sampler
from hwnas.objectives import objectives_of
from hwnas.pareto import ObjectiveScale
from hwnas.samplers.objective_models import LearnedObjective
from hwnas.samplers.pareto_guided import ParetoGuidedSampler

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_NOISE_STD = {"guided": np.nan, "ignorant": 0.0}
_CHOICES = ("told", "expected", "all")
# two of the slices that have many cells near the front, and one that has few
_SLICES = (0, 1, 4)


class NoisySlice:
    """A slice whose accuracies are told with noise.

    Args:
        of: The slice.
        noise_std: In the unit of its accuracy.
        least: Share of the cells that is not accurate enough to count.
        seed: Of the noise.
    """

    def __init__(self, of: Slice, noise_std: float, least: float, seed: int) -> None:
        accuracy, costs = of.values[of.searched, 0], of.values[of.searched, 1:]
        self.told = of.values.copy()
        self.told[:, 0] += np.random.default_rng([seed, 2]).normal(0.0, noise_std, CELLS)
        self.scale = ObjectiveScale(
            objectives_of(("accuracy", "latency", "energy")[: 1 + costs.shape[1]]),
            ideal=(accuracy.max(), *costs.min(axis=0)),
            reference=(float(np.quantile(accuracy, least)), *costs.max(axis=0)),
        )
        self.features = encode(of, np.arange(CELLS))
        self._losses = self.scale.losses(of.values)
        self._exact = self._hypervolume(of.searched)

    def ratios(self, looked_up: Rows) -> dict[str, float]:
        """Return the share of the exact front's hypervolume, by how members are chosen."""
        told = self.scale.losses(self.told[looked_up])
        logs = np.log(self.told[looked_up, 1:])
        features = [*(part[looked_up] for part in self.features), logs]
        model = LearnedObjective(features, told[:, 0], np.nan)
        expected = np.column_stack([model.denoised(), told[:, 1:]])
        chosen = (looked_up[_front(told)], looked_up[_front(expected)], looked_up)
        shares = (self._hypervolume(rows) / self._exact for rows in chosen)
        return dict(zip(_CHOICES, shares, strict=True))

    def _hypervolume(self, rows: Rows) -> float:
        losses = self._losses[rows]
        return float(moocore.hypervolume(losses, ref=np.ones(losses.shape[1])))


def _front(losses: Array) -> NDArray[np.bool_]:
    """Return which rows are accurate enough and dominated by none."""
    return np.asarray((losses[:, 0] < 1) & moocore.is_nondominated(losses))


def _sampler(of: Slice, noisy: NoisySlice, method: str, seed: int) -> Callable[[int], BaseSampler]:
    if method not in _NOISE_STD:
        return builtin_sampler(method, seed)  # type: ignore[arg-type]
    guided = ParetoGuidedSampler(
        distributions=PARAMETERS,
        seed=seed,
        costs=CalibratedCosts(of, seed),
        encode=lambda rows: [part[of.index(rows)] for part in noisy.features],
        noise_std=[_NOISE_STD[method], *[0.0] * len(of.costs)],
        scale=noisy.scale,
    )
    return lambda number: guided


def run(of: Slice, method: str, seed: int, args: argparse.Namespace) -> list[dict[str, float]]:
    """Return the ratios of one search at every number of evaluations."""
    noisy = NoisySlice(of, args.noise, args.least, seed)
    sampler = _sampler(of, noisy, method, seed)
    found = np.array(look_up(of, noisy.told, sampler, max(args.evaluations)))
    return [noisy.ratios(found[:n]) for n in args.evaluations]


def _print(method: str, evaluations: Sequence[int], runs: Sequence[list[dict[str, float]]]) -> None:
    for place, n in enumerate(evaluations):
        columns = []
        for choice in _CHOICES:
            ratios = [r[place][choice] for r in runs]
            columns.append(f"{np.mean(ratios):.3f} ±{np.std(ratios) / len(ratios) ** 0.5:.3f}")
        print(f"{method:10} {n:5}  " + "  ".join(f"{c:>12}" for c in columns), flush=True)


def main() -> None:
    args = _arguments()
    if "HWNAS_DATA" not in os.environ:
        print("Nothing to do: HWNAS_DATA names no folder of measured tables.")
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    found: list[dict[str, Any]] = []
    for accuracy, *costs in (SLICES[i] for i in _SLICES):
        of = load_slice(Path(os.environ["HWNAS_DATA"]), accuracy, costs)
        print(f"\n{of.name}\n{'chosen by':17}" + "  ".join(f"{c:>12}" for c in _CHOICES))
        for method in args.methods.split(","):
            runs = [run(of, method, seed, args) for seed in range(args.seeds)]
            _print(method, args.evaluations, runs)
            found.append({"slice": of.name, "method": method, "ratios": runs})
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--noise", type=float, default=3.0, help="in the accuracy's unit")
    parser.add_argument("--least", type=float, default=0.4, help="share of cells that do not count")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[60, 120])
    parser.add_argument("--methods", default="guided,ignorant,random", metavar="NAME,...")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to save all figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
