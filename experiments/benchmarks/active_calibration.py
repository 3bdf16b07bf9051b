"""Compare architectures chosen for what they tell with random ones, at equal numbers measured.

    HWNAS_DATA=FOLDER python experiments/benchmarks/active_calibration.py [--n 20,50,100]
        [--seeds 5] [--table PATTERN] [--limit TABLES] [--json OUT]

The candidates of a table are 1,000 random training architectures, the same for both, and the
predictor is the default one. Random training sets are the first N of them; active ones begin
with 12 that cover them, and grow by half at a time as `hwnas calibrate --within` does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from measured_tables import Table, find_tables, observed
from numpy.typing import NDArray

from latency_predictors import agreement
from latency_predictors.active import FIRST_FIT, grown
from latency_predictors.coverage import covering_rows
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.selection import most_informative

_TEST_SIZE, _POOL = 1000, 1000
_SELECTION_SEED = 0

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Score:
    """Figures of one training set, shares as fractions."""

    table: str
    chosen: str
    n: int
    seed: int
    mape: float
    within_10: float


def evaluate(table: Table, sizes: Sequence[int], seeds: int) -> list[Score]:
    """Score both ways of choosing for every size and seed."""
    shuffled = np.random.default_rng(_SELECTION_SEED).permutation(table.rows)
    test, rest = shuffled[:_TEST_SIZE], shuffled[_TEST_SIZE:]
    scores = []
    for seed in range(1, seeds + 1):
        rng = np.random.default_rng(seed)
        pool = rng.choice(rest, min(_POOL, len(rest)), replace=False)
        active = active_rows(table, pool, sizes)
        for n in sizes:
            for chosen, rows in (("random", pool[:n]), ("active", active[n])):
                mape, within_10 = _judge(table, rows, test)
                scores.append(Score(table.name, chosen, n, seed, mape, within_10))
    return scores


def active_rows(table: Table, pool: Rows, sizes: Sequence[int]) -> dict[int, Rows]:
    """Return the architectures chosen from a pool by the time each size is reached."""
    candidates = observed(table)[pool]
    view = next(iter(candidates.views))
    chosen = covering_rows(candidates.views[view], FIRST_FIT)
    found = {}
    for size in sorted(sizes):
        while len(chosen) < size:
            predictor = _fit(table, pool[chosen])
            weights = predictor.view_weights
            view = max(weights, key=lambda name: weights[name])
            predicted = predictor.predict_observed(candidates)
            error_std = float(np.median(predicted.std / predicted.mean))
            n = min(grown(len(chosen)), size) - len(chosen)
            chosen += most_informative(candidates.views[view], predicted.mean, error_std, chosen, n)
        found[size] = pool[chosen[:size]]
    return found


def _fit(table: Table, rows: Rows) -> PriorResidualPredictor:
    predictor = PriorResidualPredictor(table.metric)
    return predictor.fit_observed(observed(table)[rows], table.values[rows], [*map(str, rows)])


def _judge(table: Table, rows: Rows, test: Rows) -> tuple[float, float]:
    predicted = _fit(table, rows).predict_observed(observed(table)[test]).mean
    found = agreement(table.values[test], predicted)
    return found.mape, found.within_10


def line(name: str, scores: Sequence[Score], sizes: Sequence[int]) -> str:
    """Return one row: MAPE and share within 10 % of random and active, per size, in per cent."""
    cells = [f"{name:48}"]
    for n in sizes:
        for chosen in ("random", "active"):
            of_size = [s for s in scores if (s.n, s.chosen) == (n, chosen)]
            mape, within = (
                np.mean([getattr(s, k) for s in of_size]) for k in ("mape", "within_10")
            )
            cells.append(f"{100 * mape:5.2f} {100 * within:5.1f}")
    return "  ".join(cells)


def main() -> None:
    args = _arguments()
    if "HWNAS_DATA" not in os.environ:
        print("Nothing to do: HWNAS_DATA names no folder of measured tables.")
        return
    folder = Path(os.environ["HWNAS_DATA"])
    tables = [t for t in find_tables(folder, args.table) if t.metric == "latency_s"]
    if not tables:
        sys.exit(f"{folder}: no table's name holds {args.table!r}")
    # evenly over the files and devices
    places = np.linspace(0, len(tables) - 1, min(args.limit, len(tables)))
    tables = [tables[int(place)] for place in np.round(places)]
    print(f"{'MAPE and share within 10 %':48}", end="")
    print("".join(f"  {f'random {n}':>11}  {f'active {n}':>11}" for n in args.n))
    scores: list[Score] = []
    for table in tables:
        of_table = evaluate(table, args.n, args.seeds)
        print(line(table.name, of_table, args.n), flush=True)
        scores += of_table
    print(line(f"mean of {len(tables)} tables", scores, args.n))
    if args.json:
        args.json.write_text(json.dumps([asdict(score) for score in scores], indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=_sizes, default=(20, 50, 100))
    parser.add_argument("--seeds", type=int, default=5, help="training sets of each size")
    parser.add_argument("--table", default="", metavar="PATTERN", help="part of FILE/ARRAY")
    parser.add_argument("--limit", type=int, default=18, help="at most so many tables")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to save every score")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
