"""Tables of measurements that others published, found by the names of arrays in a folder."""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from foreign_spaces import (
    FROM_BOTH,
    FROM_INPUT,
    FROM_OUTPUT,
    NB201_INPUTS,
    RAW,
    Architectures,
    fbnet,
    nb201,
    ofa,
)
from numpy.typing import NDArray

from latency_predictors.observed import Observed

Arrays = Mapping[str, NDArray[Any]]

# metric and seconds or joules per unit, by the first part of an array's name
_METRICS = {"latency_ms": ("latency_s", 1e-3), "energy_mj": ("energy_j", 1e-3)}

# the file that a dataset in predictor_baselines.csv is
_BASELINE_FILE = {
    "help_fbnet": "fbnet_help_latency",
    "help_nb201": "nb201_help_latency",
    "help_ofa": "ofa_help_latency",
    "hw360": "nb201_pi5",
    "oneproxy_nb201": "nb201_oneproxy1999_latency",
}


@dataclass(frozen=True)
class Table:
    """Measurements of one cost on one device.

    Args:
        path: The file.
        array: Name of the array in it.
        metric: ``latency_s`` or ``energy_j``.
        values: SI units, one per architecture of the file.
        rows: Architectures measured themselves, connected, with a positive value.
    """

    path: Path
    array: str
    metric: str
    values: NDArray[np.float64]
    rows: NDArray[np.intp]

    @property
    def name(self) -> str:
        """File and array."""
        return f"{self.path.stem}/{self.array}"


def find_tables(folder: Path, pattern: str) -> list[Table]:
    """Return the tables whose name holds the pattern (``*`` and ``?`` as in a shell)."""
    return [
        table
        for path in sorted(folder.glob("*.npz"))
        for table in _tables_of(path)
        if fnmatch.fnmatchcase(table.name, f"*{pattern}*")
    ]


def _tables_of(path: Path) -> list[Table]:
    with np.load(path) as arrays:
        names = [name for name in arrays.files if name.partition("__")[0] in _METRICS]
        if not names:
            return []
        rows = _measured_rows(path, arrays, len(arrays[names[0]]))
        # of one data set one after the other, so that its graphs are made once
        return [_table(path, name, arrays[name], rows) for name in sorted(names, key=_dataset)]


def _table(path: Path, name: str, raw: NDArray[np.float32], rows: NDArray[np.intp]) -> Table:
    metric, unit = _METRICS[name.partition("__")[0]]
    values = raw.astype(np.float64) * unit
    # not positive: it failed to compile
    return Table(path, name, metric, values, rows[np.isfinite(values[rows]) & (values[rows] > 0)])


def _dataset(array: str) -> str:
    name = array.rpartition("_")[2]
    return name if name in NB201_INPUTS else "cifar10"


def _measured_rows(path: Path, arrays: Arrays, n: int) -> NDArray[np.intp]:
    """Return one row of each representative, without disconnected NB201 cells."""
    rows = np.arange(n)
    if "rep_index" in arrays:
        rows = np.unique(arrays["rep_index"], return_index=True)[1]
    if not _is_nb201(arrays):
        return rows
    with np.load(path.parent / "nb201_arch.npz") as cells:
        connected: NDArray[np.bool_] = cells["connected"][_nb201_index(arrays, n)]
    return rows[connected[rows]]


def _is_nb201(arrays: Arrays) -> bool:
    return "op_idx" not in arrays and "ks" not in arrays


def _nb201_index(arrays: Arrays, n: int) -> NDArray[np.intp]:
    return arrays["nb201_index"].astype(np.intp) if "nb201_index" in arrays else np.arange(n)


def observed(table: Table) -> Observed:
    """Return what is known of the architectures of a table's file, in its order."""
    return _observed(table.path, _dataset(table.array), len(table.values))


def latencies_beside(table: Table) -> NDArray[np.float64] | None:
    """Return the latencies measured where a table of energies was, seconds, if there are any."""
    metric, _, device = table.array.partition("__")
    with np.load(table.path) as arrays:
        name = f"latency_ms__{device}"
        if metric != "energy_mj" or name not in arrays:
            return None
        return np.asarray(arrays[name], dtype=np.float64) * _METRICS["latency_ms"][1]


@lru_cache(maxsize=1)
def _observed(path: Path, dataset: str, n: int) -> Observed:
    return _architectures(path, dataset, n).observed()


def _architectures(path: Path, dataset: str, n: int) -> Architectures:
    with np.load(path) as arrays:
        if "op_idx" in arrays:
            return fbnet(arrays["op_idx"], arrays["op_names"].tolist())
        if "ks" in arrays:
            return ofa(*(arrays[k] for k in ("ks", "expand", "depth", "resolution")))
        index = _nb201_index(arrays, n)
    with (
        np.load(path.parent / "nb201_arch.npz") as cells,
        np.load(path.parent / "nb201_pruned_ops.npz") as pruned,
    ):
        ops = {
            RAW: cells["ops"],
            FROM_INPUT: pruned["ops_prune_forward"],
            FROM_OUTPUT: pruned["ops_prune_backward"],
            FROM_BOTH: cells["ops_live"],
        }
    return nb201({view: array[index] for view, array in ops.items()}, dataset)


@dataclass(frozen=True)
class Baseline:
    """The best simple baselines on a table, by either figure, as fractions."""

    mape: float
    mape_model: str
    within_10: float
    within_10_model: str


Baselines = Mapping[tuple[str, int], Baseline]
"""By name of the table and training set size."""


def read_baselines(folder: Path) -> Baselines:
    """Return the best of ``predictor_baselines.csv``; none where there is no such file."""
    rows: dict[tuple[str, int], list[dict[str, str]]] = {}
    path = folder / "predictor_baselines.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            file_name = _BASELINE_FILE.get(row["dataset"], row["dataset"])
            table = f"{file_name}/{row['metric']}__{row['device']}"
            rows.setdefault((table, int(row["N"])), []).append(row)
    return {key: _best(of_table) for key, of_table in rows.items()}


def _best(rows: Sequence[Mapping[str, str]]) -> Baseline:
    nearest = min(rows, key=lambda row: float(row["mape_pct_mean"]))
    within = max(rows, key=lambda row: float(row["within10_pct_mean"]))
    return Baseline(
        float(nearest["mape_pct_mean"]) / 100,
        nearest["model"],
        float(within["within10_pct_mean"]) / 100,
        within["model"],
    )
