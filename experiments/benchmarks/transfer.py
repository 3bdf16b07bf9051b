"""Score transfer from other devices on published measurements, beside no transfer.

    HWNAS_DATA=FOLDER python experiments/benchmarks/transfer.py [--n 0,5,10,20,50] [--seeds 5]
        [--table PATTERN] [--json OUT]

For each table of latencies, the sources are the other devices of the same file and data set,
each known by 100 of its own measurements. The device itself with another batch size or number
format (a name that differs in a number at its end) is no source: that would be too easy.
Without measurements there is no scale, only ranks.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from foreign_spaces import NB201_INPUTS
from measured_tables import Table, find_tables, observed
from numpy.typing import NDArray

from latency_predictors import agreement
from latency_predictors._types import Predictions
from latency_predictors.observed import Observed
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.transfer import TransferPredictor

_SOURCE_SIZE = 100
_TEST_SIZE = 1000
_SPLIT_SEED = 0
# below it no predictor can be fitted to the device alone
_LEAST_WITHOUT_TRANSFER = 4

_PUBLISHED = """\
Published: HELP, meta-learned from 13 source devices, with 10 measurements of the new one:
rank correlation 0.932 on NB201, 0.910 on FBNet (means of its own unseen devices and splits)"""


@dataclass(frozen=True)
class Score:
    """Figures of one training set; shares as fractions, ``None`` where they do not exist."""

    table: str
    model: str
    n: int
    seed: int
    sources: int
    mape: float | None
    within_10: float | None
    spearman: float | None
    coverage: float | None
    own_weight: float | None


def device_of(array: str) -> str:
    """Return the device an array was measured on, whatever the batch size."""
    return re.sub(r"_\d+$", "", array.partition("__")[2])


def dataset_of(array: str) -> str:
    """Return the data set that ends an array's name, or nothing."""
    name = array.rpartition("_")[2]
    return name if name in NB201_INPUTS else ""


def fit_source(table: Table) -> PriorResidualPredictor:
    """Fit a predictor to so many random measurements of a device as a source has."""
    n = min(_SOURCE_SIZE, len(table.rows))
    # any seed that differs by device: sources were not measured on the same architectures
    seed = [_SPLIT_SEED, *table.array.encode()]
    rows = np.random.default_rng(seed).choice(table.rows, n, replace=False)
    predictor = PriorResidualPredictor(table.metric)
    return predictor.fit_observed(observed(table)[rows], table.values[rows], _groups(rows))


def evaluate(
    table: Table,
    sources: Mapping[str, PriorResidualPredictor],
    sizes: Sequence[int],
    seeds: int,
) -> list[Score]:
    """Score transfer, and no transfer, for every training set size and seed."""
    shuffled = np.random.default_rng(_SPLIT_SEED).permutation(table.rows)
    n_test = min(_TEST_SIZE, len(shuffled) // 2)
    test, pool = shuffled[:n_test], shuffled[n_test:]
    known = observed(table)
    scores = []
    for n in (n for n in sizes if n <= len(pool)):
        for seed in range(1, seeds + 1) if n else (0,):  # nothing is drawn: one is all
            train = np.random.default_rng(seed).choice(pool, n, replace=False)
            transfer = TransferPredictor(sources)
            own = PriorResidualPredictor(table.metric)
            for model in (transfer, own):
                if model is own and n < _LEAST_WITHOUT_TRANSFER:
                    continue
                model.fit_observed(known[train], table.values[train], _groups(train))
                scores.append(_score(table, model, known[test], test, (n, seed, len(sources))))
    return scores


def _score(
    table: Table,
    model: TransferPredictor | PriorResidualPredictor,
    asked: Observed,
    test: NDArray[np.intp],
    setting: tuple[int, int, int],
) -> Score:
    said: Predictions = model.predict_observed(asked)
    n, seed, n_sources = setting
    measured = table.values[test]
    figures = agreement(measured, said.mean)
    covered = float(np.mean((said.low <= measured) & (measured <= said.high)))
    transferred = isinstance(model, TransferPredictor)
    return Score(
        table=table.name,
        model="transfer" if transferred else "alone",
        n=n,
        seed=seed,
        sources=n_sources if transferred else 0,
        mape=figures.mape if n else None,
        within_10=figures.within_10 if n else None,
        spearman=figures.spearman,
        coverage=covered if n else None,
        own_weight=model.own_weight if isinstance(model, TransferPredictor) else None,
    )


def _groups(rows: NDArray[np.intp]) -> list[str]:
    return [str(row) for row in rows]


_FIGURES = ("mape", "within_10", "spearman", "coverage")
_HEADER = f"{'':52} {'':>4}   transfer: MAPE, in 10 %, rho, cover   alone: likewise"


def print_means(name: str, scores: Sequence[Score]) -> None:
    """Print one line per training set size: transfer, and beside it no transfer."""
    for n in sorted({score.n for score in scores}):
        columns = [
            "".join(
                _shown(figure, [s for s in scores if (s.n, s.model) == (n, model)])
                for figure in _FIGURES
            )
            for model in ("transfer", "alone")
        ]
        print(f"{name:52} {n:4}   {'   '.join(columns)}", flush=True)


def _shown(figure: str, scores: Sequence[Score]) -> str:
    values = [getattr(score, figure) for score in scores]
    if figure == "spearman":
        # ranks that do not exist count as no correlation
        return f"{np.mean([value or 0.0 for value in values]):8.3f}" if values else f"{'-':>8}"
    if not values or None in values:
        return f"{'-':>8}"
    return f"{100 * np.mean(values):8.1f}"


def score_file(tables: Sequence[Table], chosen: set[str], args: argparse.Namespace) -> list[Score]:
    """Score the chosen tables of one file and data set, and print each."""
    sources = {table.array: fit_source(table) for table in tables}
    scores: list[Score] = []
    for table in tables:
        others = {
            name: source
            for name, source in sources.items()
            if device_of(name) != device_of(table.array)
        }
        if table.name not in chosen or len(others) < 2:
            continue
        of_table = evaluate(table, others, args.n, args.seeds)
        print_means(table.name, of_table)
        scores += of_table
    return scores


def main() -> None:
    args = _arguments()
    if "HWNAS_DATA" not in os.environ:
        print("Nothing to do: HWNAS_DATA names no folder of measured tables.")
        return
    folder = Path(os.environ["HWNAS_DATA"])
    chosen = {table.name for table in find_tables(folder, args.table)}
    if not chosen:
        sys.exit(f"{folder}: no table's name holds {args.table!r}")
    print(_HEADER)
    scores: list[Score] = []
    latencies = [table for table in find_tables(folder, "") if table.metric == "latency_s"]
    for path, of_file in groupby(latencies, key=lambda table: table.path):
        in_file: list[Score] = []
        by_dataset = groupby(
            sorted(of_file, key=lambda t: dataset_of(t.array)), lambda t: dataset_of(t.array)
        )
        for _, tables in by_dataset:
            together = list(tables)
            if chosen & {table.name for table in together}:
                in_file += score_file(together, chosen, args)
        if in_file:
            print_means(f"mean of {len({s.table for s in in_file})} of {path.stem}", in_file)
        scores += in_file
    if not scores:
        sys.exit(f"{folder}: no table of latencies with two other devices beside it")
    print_means(f"mean of {len({score.table for score in scores})} tables", scores)
    print(_PUBLISHED)
    if args.json:
        args.json.write_text(json.dumps([asdict(score) for score in scores], indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=_sizes, default=(0, 5, 10, 20, 50))
    parser.add_argument("--seeds", type=int, default=5, help="training sets of each size")
    parser.add_argument("--table", default="", metavar="PATTERN", help="part of FILE/ARRAY")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to save every score")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
