"""Compare samplers by how near they come to the exact front of measured tables.

    HWNAS_DATA=FOLDER python experiments/benchmarks/search.py [--seeds 10] [--json OUT]
        [--methods pareto_guided,random,nsga2,tpe] [--evaluations 50 100 300 500 1000]
        [--accuracy score__A --latency latency_ms__B [--energy energy_mj__C]]

A slice is an accuracy and one or two costs of NAS-Bench-201's cells, named by arrays of the
folder's NPZ files: a new device needs no code. Every connected cell that was measured is an
architecture; an evaluation looks up the accuracy of one that was not looked up before. Built-in
samplers are told the measured costs, too, and their repetitions are not counted. The guided
sampler predicts costs from the measurements of 100 random cells, whose accuracy it does not
look up, and learns from the costs of those evaluated. A figure is the hypervolume of what was
evaluated, by measured values, over that of the exact front: accuracy and logarithms of costs,
below the worst value that any cell has in each. With ``--json OUT`` runs that OUT holds already
are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.study import StudyDirection
from optuna.trial import TrialState
from search_slices import CELLS, CalibratedCosts, HypervolumeRatio, Slice, encode, load_slice

from hwnas.builtin_samplers import builtin_sampler
from hwnas.samplers.pareto_guided import ParetoGuidedSampler

GUIDED = "pareto_guided"
_BUILTIN = ("random", "nsga2", "nsga3", "tpe")
# as Optuna sets it up, with a population of 50; nsga2 has the 20 that searches have
_AS_OPTUNA = "nsga2_optuna"
PARAMETERS: dict[str, BaseDistribution] = {
    f"edge_{edge}": CategoricalDistribution(list(range(5))) for edge in range(6)
}
# asks per evaluation after which a sampler that repeats itself is given up
_PATIENCE = 50

_CIFAR, _PI5 = "score__cifar100", "pi5_litert_cifar100"
SLICES = (
    (_CIFAR, f"latency_ms__{_PI5}", f"energy_mj__{_PI5}"),
    (_CIFAR, "latency_ms__1080ti_1"),
    (_CIFAR, "latency_ms__samsung_s7"),
    (_CIFAR, "latency_ms__gold_6240"),
    (_CIFAR, "latency_ms__titan_rtx_256"),
    (_CIFAR, "latency_ms__rice_edgetpu"),
    ("score__ninapro", "latency_ms__pi5_litert_ninapro", "energy_mj__pi5_litert_ninapro"),
)


@dataclass(frozen=True)
class Run:
    """One search.

    Args:
        slice: Names of its arrays.
        method: Sampler.
        seed: Of the sampler, and of what it is calibrated on.
        ratios: Share of the exact front's hypervolume, by number of evaluations.
        s_per_proposal: Seconds that the sampler took per evaluation.
    """

    slice: str
    method: str
    seed: int
    ratios: dict[str, float]
    s_per_proposal: float


def run(of: Slice, method: str, seed: int, evaluations: Sequence[int]) -> Run:
    """Search a slice once."""
    ratio = HypervolumeRatio(of)
    sampler = _sampler(of, method, seed)
    start = time.process_time()
    looked_up = look_up(of, of.values, sampler, max(evaluations))
    seconds = (time.process_time() - start) / len(looked_up)
    ratios = {str(n): ratio(looked_up[:n]) for n in evaluations if n <= len(looked_up)}
    return Run(of.name, method, seed, ratios, seconds)


def _sampler(of: Slice, method: str, seed: int) -> Callable[[int], BaseSampler]:
    if method == _AS_OPTUNA:
        as_is = NSGAIISampler(seed=seed)
        return lambda number: as_is
    if method != GUIDED:
        return builtin_sampler(method, seed)  # type: ignore[arg-type]
    features = encode(of, np.arange(CELLS))
    guided = ParetoGuidedSampler(
        distributions=PARAMETERS,
        seed=seed,
        costs=CalibratedCosts(of, seed),
        encode=lambda rows: [part[of.index(rows)] for part in features],
    )
    return lambda number: guided


def look_up(
    of: Slice, told: NDArray[np.float64], sampler: Callable[[int], BaseSampler], wanted: int
) -> list[int]:
    """Search.

    Args:
        of: The slice.
        told: Shape ``(CELLS, m)``: what an evaluation tells.
        sampler: From a trial's number.
        wanted: Cells to look up.

    Returns:
        Official indices of the cells whose accuracy was looked up, in order.
    """
    directions = [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(of.costs)]
    study = optuna.create_study(directions=directions)
    looked_up: dict[int, None] = {}
    wanted = min(wanted, len(of.searched))
    for number in range(wanted * _PATIENCE):
        study.sampler = sampler(number)
        trial = study.ask(PARAMETERS)
        row = np.array([[trial.params[name] for name in PARAMETERS]])
        index = int(of.index(row)[0])
        if np.isnan(told[index, 0]):
            study.tell(trial, state=TrialState.FAIL)
            continue
        study.tell(trial, told[index].tolist())
        if index not in looked_up:
            looked_up[index] = None
        if len(looked_up) == wanted:
            break
    return list(looked_up)


def print_table(runs: Sequence[Run], evaluations: Sequence[int]) -> None:
    """Print a row per method: mean and standard deviation over seeds."""
    print(f"{'':14} {'seeds':>5} " + "".join(f"{n:>14}" for n in evaluations) + "  s/proposal")
    for method in dict.fromkeys(r.method for r in runs):
        own = [r for r in runs if r.method == method]
        columns = []
        for n in evaluations:
            reached = [r.ratios[str(n)] for r in own if str(n) in r.ratios]
            shown = f"{np.mean(reached):.4f} ±{np.std(reached):.4f}" if reached else "-"
            columns.append(f"{shown:>14}")
        seconds = np.mean([r.s_per_proposal for r in own])
        print(f"{method:14} {len(own):5} {''.join(columns)}  {seconds:10.3f}", flush=True)


def main() -> None:
    args = _arguments()
    if "HWNAS_DATA" not in os.environ:
        print("Nothing to do: HWNAS_DATA names no folder of measured tables.")
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    runs = _saved(args.json)
    for accuracy, *costs in _slices(args):
        of = load_slice(Path(os.environ["HWNAS_DATA"]), accuracy, costs)
        print(f"\n{of.name}: {len(of.searched)} cells")
        shown = []
        for method in args.methods:
            for seed in range(args.seeds):
                found = _known(runs, of, method, seed, args.evaluations)
                if found is None:
                    found = run(of, method, seed, args.evaluations)
                    runs.append(found)
                    _save(args.json, runs)
                shown.append(found)
        print_table(shown, args.evaluations)


def _slices(args: argparse.Namespace) -> Sequence[tuple[str, ...]]:
    if args.accuracy is None and args.latency is None:
        return SLICES
    if args.accuracy is None or args.latency is None:
        sys.exit("--accuracy and --latency: wanted both, or none for the default slices")
    return [(args.accuracy, args.latency, *([args.energy] if args.energy else []))]


def _saved(path: Path | None) -> list[Run]:
    if path is None or not path.exists():
        return []
    return [Run(**entry) for entry in json.loads(path.read_text())]


def _known(
    runs: Sequence[Run], of: Slice, method: str, seed: int, evaluations: Sequence[int]
) -> Run | None:
    wanted = {str(n) for n in evaluations if n <= len(of.searched)}
    for saved in runs:
        same = (saved.slice, saved.method, saved.seed) == (of.name, method, seed)
        if same and wanted <= saved.ratios.keys():
            return saved
    return None


def _save(path: Path | None, runs: Sequence[Run]) -> None:
    if path is not None:
        path.write_text(json.dumps([asdict(r) for r in runs], indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accuracy", metavar="ARRAY", help="such as score__cifar100")
    parser.add_argument("--latency", metavar="ARRAY", help="such as latency_ms__pixel3")
    parser.add_argument("--energy", metavar="ARRAY", help="without it, two objectives")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", type=_methods, default=(GUIDED, "random", "nsga2", "tpe"))
    parser.add_argument("--evaluations", type=int, nargs="+", default=[50, 100, 300, 500, 1000])
    parser.add_argument("--json", type=Path, metavar="OUT", help="where runs are saved")
    return parser.parse_args()


def _methods(text: str) -> tuple[str, ...]:
    methods = tuple(text.split(","))
    if unknown := set(methods) - {GUIDED, _AS_OPTUNA, *_BUILTIN}:
        raise argparse.ArgumentTypeError(f"no such method: {', '.join(sorted(unknown))}")
    return methods


if __name__ == "__main__":
    main()
