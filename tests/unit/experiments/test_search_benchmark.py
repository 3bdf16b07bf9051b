"""The benchmark of samplers: what is searched, what counts, and what is saved."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

_SCRIPT = Path(__file__).parents[3] / "experiments" / "benchmarks" / "search.py"
_CELLS = 15625
_CONV_1X1, _CONV_3X3 = 2, 3
_SLICE = ("--accuracy", "score__x", "--latency", "latency_ms__board")


def run(data: Path | None, *options: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "HWNAS_DATA"}
    if data is not None:
        environment["HWNAS_DATA"] = str(data)
    command = [sys.executable, str(_SCRIPT), *options]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=300
    ).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Laws of all cells, some of which are said to be disconnected."""
    path = tmp_path_factory.mktemp("tables")
    ops = np.array(list(product(range(5), repeat=6)), dtype=np.int8)
    connected = np.arange(_CELLS) % 10 != 0
    np.savez(path / "nb201_arch.npz", ops=ops, ops_live=ops, connected=connected)
    np.savez(path / "nb201_pruned_ops.npz", ops_prune_forward=ops, ops_prune_backward=ops)
    few = np.random.default_rng(0).choice(_CELLS, 1500, replace=False)
    latency = law_ms(ops)
    # what is disconnected must not touch any figure
    latency[::10] = 1e-6
    np.savez(path / "boards.npz", latency_ms__board=latency, score__x=accuracy(ops))
    np.savez(path / "few.npz", nb201_index=few, latency_ms__few=latency[few])
    return path


def counts(ops: NDArray[np.int8]) -> tuple[NDArray[Any], NDArray[Any]]:
    return (ops == _CONV_1X1).sum(axis=1), (ops == _CONV_3X3).sum(axis=1)


def law_ms(ops: NDArray[np.int8]) -> NDArray[np.float64]:
    small, large = counts(ops)
    return np.asarray(3.0 + 0.5 * small + 4.5 * large)


def accuracy(ops: NDArray[np.int8]) -> NDArray[np.float64]:
    small, large = counts(ops)
    return np.asarray(90 - 40 * np.exp(-0.4 * small - 0.6 * large))


def saved(folder: Path, out: Path, *options: str) -> list[Mapping[str, Any]]:
    run(folder, *_SLICE, "--seeds", "1", "--json", str(out), *options)
    found: list[Mapping[str, Any]] = json.loads(out.read_text())
    return found


def test_without_data_it_says_so_and_ends_well() -> None:
    assert "HWNAS_DATA" in run(None)


def test_guided_search_finds_a_front_that_random_search_does_not(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    # the table of few cells: their graphs are quickly made
    options = ("--accuracy", "score__x", "--latency", "latency_ms__few", "--seeds", "1")
    methods = ("--methods", "pareto_guided,random", "--evaluations", "30", "60")
    run(folder, *options, *methods, "--json", str(out))
    runs = {r["method"]: r for r in json.loads(out.read_text())}
    guided, drawn = (runs[method]["ratios"] for method in ("pareto_guided", "random"))
    # a smooth law of two counts: all that is to be known is known after the start
    assert guided["60"] > 0.99
    assert drawn["60"] < guided["60"]
    assert 0 < drawn["30"] <= drawn["60"] <= 1


def test_runs_that_are_saved_are_not_repeated(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ("--methods", "random", "--evaluations", "10")
    (first,) = saved(folder, out, *options)
    marked = {**first, "s_per_proposal": 123.0}
    out.write_text(json.dumps([marked]))
    assert saved(folder, out, *options) == [marked]
    # more evaluations are another run
    assert len(saved(folder, out, "--methods", "random", "--evaluations", "20")) == 2


def test_of_a_table_of_few_cells_only_those_are_searched(folder: Path) -> None:
    options = ("--accuracy", "score__x", "--latency", "latency_ms__few", "--seeds", "1")
    text = run(folder, *options, "--methods", "random", "--evaluations", "5")
    with np.load(folder / "few.npz") as arrays:
        connected = int(np.sum(arrays["nb201_index"] % 10 != 0))
    assert f"{connected} cells" in text


def test_an_unknown_array_is_named(folder: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(folder, "--accuracy", "score__y", "--latency", "latency_ms__board", "--seeds", "1")
    assert "score__y" in failed.value.stderr
    assert "Traceback" not in failed.value.stderr
