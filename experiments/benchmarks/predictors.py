"""Score the default predictor on published measurements that no one here made.

    HWNAS_DATA=FOLDER python experiments/benchmarks/predictors.py [--n 20,100] [--seeds 5]
        [--table PATTERN] [--limit TABLES] [--json OUT]

A table is an array of the folder's NPZ files whose name begins with ``latency_ms__`` or
``energy_mj__``: a new device needs no code. Training sets are random, and one test set per
table is none of them. Beside each figure: the best simple baseline on that table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from measured_tables import (
    Baselines,
    Table,
    find_tables,
    latencies_beside,
    observed,
    read_baselines,
)
from numpy.typing import NDArray

from latency_predictors import agreement
from latency_predictors._types import Predictions
from latency_predictors.energy_predictor import EnergyPredictor
from latency_predictors.observed import Observed
from latency_predictors.prior_residual import PriorResidualPredictor

_TEST_SIZE = 2000
# left for training where a table is too small for both
_LARGEST_TRAINING_SET = 900
_SELECTION_SEED = 0

_PUBLISHED = """\
Published, on other splits and mostly other devices (measurements per device):
  nn-Meter, latency (26,000 networks tested)    within 10 %: 99.0 / 99.1 / 99.0 / 83.4 %
  LitePred, latency (1,400 / 3,100 / 17,400)    within 10 %: 98.9 / 100 / 99.1 %
                                                within 5 %: 90.5 / 95.7 / 84.3 %
  HELP, NB201 latency (10, 13 source devices)   rank correlation 0.932; FBNet 0.910
  BRP-NAS, NB201 latency (900 / 3,200)          rank correlation 0.789 / 0.805
  FLOPs, NB201 latency (0)                      rank correlation 0.787
  NeurstrucEnergy, energy                       MAPE 2.60 %, mixed CNNs 4.83 %
  SDEnergy, energy                              MAPE 5.35 %"""


@dataclass(frozen=True)
class Outcome:
    """What a model said of the test set, and the time it took."""

    predictions: Predictions
    fit_s: float
    predict_s: float


@dataclass(frozen=True)
class Score:
    """Figures of one training set, shares as fractions; ``None`` where ranks do not exist."""

    table: str
    metric: str
    n: int
    seed: int
    mape: float
    within_5: float
    within_10: float
    spearman: float | None
    kendall: float | None
    coverage: float
    fit_s: float
    predict_s: float


def default_model(
    observed: Observed,
    metric: str,
    values: NDArray[np.float64],
    latencies_s: NDArray[np.float64] | None,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
) -> Outcome:
    """Fit the default predictor to ``values[train]`` and predict ``test``.

    Args:
        observed: What is known of all n architectures of the space.
        metric: ``latency_s`` or ``energy_j``.
        values: Shape ``(n,)``; only those of ``train`` may be read.
        latencies_s: With energies: what was measured beside them; likewise.
        train: Indices of the architectures measured.
        test: Indices of the architectures asked for.
    """
    start = time.perf_counter()
    groups = [str(i) for i in train]
    known = observed[train]
    predictor: PriorResidualPredictor | EnergyPredictor
    if latencies_s is None:
        predictor = PriorResidualPredictor(metric).fit_observed(known, values[train], groups)
    else:
        latency = PriorResidualPredictor("latency_s")
        latency.fit_observed(known, latencies_s[train], groups)
        predictor = EnergyPredictor(latency)
        predictor.fit_observed(known, values[train], latencies_s[train], groups)
    fitted = time.perf_counter()
    predictions = predictor.predict_observed(observed[test])
    return Outcome(predictions, fitted - start, time.perf_counter() - fitted)


def evaluate(table: Table, sizes: Sequence[int], seeds: int) -> list[Score]:
    """Score the model on every training set size and seed the table is large enough for."""
    shuffled = np.random.default_rng(_SELECTION_SEED).permutation(table.rows)
    n_test = min(_TEST_SIZE, max(len(shuffled) - _LARGEST_TRAINING_SET, len(shuffled) // 2))
    test, pool = shuffled[:n_test], shuffled[n_test:]
    return [
        _score(table, np.random.default_rng(seed).choice(pool, n, replace=False), test, seed)
        for n in sizes
        if n <= len(pool)
        for seed in range(1, seeds + 1)
    ]


def _score(table: Table, train: NDArray[np.intp], test: NDArray[np.intp], seed: int) -> Score:
    latencies_s = latencies_beside(table)
    outcome = default_model(
        observed(table),
        table.metric,
        _only(table.values, train),
        None if latencies_s is None else _only(latencies_s, train),
        train,
        test,
    )
    measured, said = table.values[test], outcome.predictions
    figures = asdict(agreement(measured, said.mean)) | {
        "n": len(train),
        "coverage": float(np.mean((said.low <= measured) & (measured <= said.high))),
    }
    return Score(
        table=table.name,
        metric=table.metric,
        seed=seed,
        fit_s=outcome.fit_s,
        predict_s=outcome.predict_s,
        **figures,
    )


def _only(values: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the values of these rows; what no model may read is nowhere."""
    hidden = np.full(len(values), np.nan)
    hidden[rows] = values[rows]
    return hidden


_FIGURES = ("mape", "within_5", "within_10", "spearman", "kendall", "coverage", "fit_s")
_HEADER = (
    f"{'table':52} {'N':>4} {'MAPE':>6} {'in 5':>6} {'in 10':>6} {'rho':>6} {'tau':>6} "
    f"{'cover':>6} {'fit s':>6}   best baseline: MAPE, in 10 %"
)


def mean_figures(scores: Sequence[Score]) -> dict[str, float]:
    """Return the mean of each figure; ranks that do not exist count as no correlation."""
    return {
        figure: float(np.mean([getattr(score, figure) or 0.0 for score in scores]))
        for figure in _FIGURES
    }


def line(name: str, n: int, figures: Mapping[str, float], beside: str) -> str:
    """Return one row under the header: shares in per cent."""
    shares = " ".join(f"{100 * figures[f]:6.1f}" for f in ("mape", "within_5", "within_10"))
    ranks = " ".join(f"{figures[f]:6.3f}" for f in ("spearman", "kendall"))
    return (
        f"{name:52} {n:4} {shares} {ranks} {100 * figures['coverage']:6.1f} "
        f"{figures['fit_s']:6.2f}   {beside}"
    )


def print_table(table: Table, scores: Sequence[Score], baselines: Baselines) -> None:
    """Print a table's means over seeds, one line per training set size."""
    for n in sizes_of(scores):
        figures = mean_figures([score for score in scores if score.n == n])
        print(line(table.name, n, figures, best_of(baselines, table.name, n)), flush=True)


def best_of(baselines: Baselines, table: str, n: int) -> str:
    """Return the best baselines of a table by name, or nothing where there are none."""
    if (table, n) not in baselines:
        return ""
    best = baselines[table, n]
    near = f"{100 * best.mape:.1f} ({best.mape_model})"
    return f"{near}, {100 * best.within_10:.1f} ({best.within_10_model})"


def print_means(scores: Sequence[Score], baselines: Baselines) -> None:
    """Print means over tables: over all, and over those that have baselines."""
    for metric in sorted({score.metric for score in scores}, reverse=True):
        for n in sizes_of(scores):
            chosen = [score for score in scores if (score.metric, score.n) == (metric, n)]
            tables = {score.table for score in chosen}
            if tables:
                print(line(f"mean of {len(tables)} tables, {metric}", n, mean_figures(chosen), ""))
            best = [baselines[table, n] for table in tables if (table, n) in baselines]
            if best:
                known = [score for score in chosen if (score.table, n) in baselines]
                beside = f"{100 * np.mean([b.mape for b in best]):.1f}, "
                beside += f"{100 * np.mean([b.within_10 for b in best]):.1f}"
                name = f"mean of {len(best)} with baselines, {metric}"
                print(line(name, n, mean_figures(known), beside))


def sizes_of(scores: Sequence[Score]) -> list[int]:
    """Return the training set sizes there are, smallest first."""
    return sorted({score.n for score in scores})


def main() -> None:
    args = _arguments()
    if "HWNAS_DATA" not in os.environ:
        print("Nothing to do: HWNAS_DATA names no folder of measured tables.")
        return
    folder = Path(os.environ["HWNAS_DATA"])
    tables = find_tables(folder, args.table)
    if args.limit is not None and args.limit < len(tables):
        chosen = np.random.default_rng(_SELECTION_SEED).choice(
            len(tables), args.limit, replace=False
        )
        tables = [tables[i] for i in sorted(chosen)]
    if not tables:
        sys.exit(f"{folder}: no table's name holds {args.table!r}")
    baselines = read_baselines(folder)
    scores: list[Score] = []
    print(_HEADER)
    for table in tables:
        of_table = evaluate(table, args.n, args.seeds)
        print_table(table, of_table, baselines)
        scores += of_table
    print_means(scores, baselines)
    print(_PUBLISHED)
    if args.json:
        args.json.write_text(json.dumps([asdict(score) for score in scores], indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=_sizes, default=(10, 20, 50, 100, 300, 900))
    parser.add_argument("--seeds", type=int, default=5, help="training sets of each size")
    parser.add_argument("--table", default="", metavar="PATTERN", help="part of FILE/ARRAY")
    parser.add_argument("--limit", type=int, help="a random sample of so many tables")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to save every score")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
