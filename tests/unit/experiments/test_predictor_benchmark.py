"""The benchmark of predictors finds tables by name, and scores them by a law known here."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.benchmarks.foreign_spaces import (
    FROM_BOTH,
    LONGEST_PATH,
    RAW,
    fbnet,
    nb201,
    ofa,
)
from latency_predictors import Graph
from latency_predictors.features import graph_macs

_SCRIPT = Path(__file__).parents[3] / "experiments" / "benchmarks" / "predictors.py"
_NONE, _SKIP, _CONV_1X1, _CONV_3X3, _AVG_POOL = range(5)
# an edge of each kind of NB201 in all three stages, by hand: 5 cells of 16 x 16 weights on
# 32 x 32 pixels; a stage on has twice the channels and a quarter of the pixels, so as many
_MACS_OF_EDGE = {_CONV_1X1: 3 * 5 * 1024 * 16 * 16, _CONV_3X3: 3 * 5 * 1024 * 9 * 16 * 16}
# 2 x 2 pooling between the stages, which published counts leave out
_HALVING_MACS = 16 * 16 * 16 * 4 + 8 * 8 * 32 * 4


def run(data: Path | None, *options: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "HWNAS_DATA"}
    if data is not None:
        environment["HWNAS_DATA"] = str(data)
    command = [sys.executable, str(_SCRIPT), *options]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout


def write_tables(folder: Path, ops: NDArray[np.int8], tables: Mapping[str, Any]) -> None:
    connected = np.arange(len(ops)) % 10 != 0
    np.savez(folder / "nb201_arch.npz", ops=ops, ops_live=ops, connected=connected)
    np.savez(folder / "nb201_pruned_ops.npz", ops_prune_forward=ops, ops_prune_backward=ops)
    np.savez(folder / "new_device.npz", **tables)


def scores(folder: Path, *options: str) -> list[dict[str, Any]]:
    out = folder / "scores.json"
    run(folder, "--json", str(out), *options)
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def live(cells: NDArray[np.int8]) -> Sequence[Graph]:
    return nb201({RAW: cells, FROM_BOTH: cells}, "cifar10").views[FROM_BOTH]


def test_without_data_it_says_so_and_ends_well() -> None:
    assert "HWNAS_DATA" in run(None)


def test_a_new_device_is_found_and_a_law_linear_in_macs_is_learned(tmp_path: Path) -> None:
    ops = np.random.default_rng(0).integers(0, 5, (400, 6)).astype(np.int8)
    counts = {op: (ops == op).sum(axis=1) for op in range(5)}
    law_ms = 3.0 + 0.5 * counts[_CONV_1X1] + 4.5 * counts[_CONV_3X3]
    # neither a disconnected cell nor one that failed to compile may touch a figure
    law_ms[::10] = 1e6
    law_ms[1::10] = -1
    tables = {
        "latency_ms__board_x": law_ms,
        "energy_mj__board_x": 2 * law_ms,
        "score__x": counts[0],
    }
    write_tables(tmp_path, ops, tables)
    found = scores(tmp_path, "--n", "60", "--seeds", "2")
    assert [(s["table"], s["metric"], s["n"], s["seed"]) for s in found] == [
        (f"new_device/{array}", metric, 60, seed)
        for array, metric in (
            ("latency_ms__board_x", "latency_s"),
            ("energy_mj__board_x", "energy_j"),
        )
        for seed in (1, 2)
    ]
    for score in found:
        # the law lies in the span of any prior on calls and MACs; ridge costs it a little
        assert score["mape"] < 0.02
        assert score["within_10"] > 0.98
        assert score["spearman"] > 0.99


def test_copies_of_a_representative_are_never_both_trained_on_and_tested(tmp_path: Path) -> None:
    ops = np.random.default_rng(0).integers(0, 5, (400, 6)).astype(np.int8)
    representative = np.arange(400) // 8 * 8 + 1  # 50 groups of 8 rows, led by a connected one
    noise = np.random.default_rng(1).lognormal(size=400)[representative]
    tables = {"latency_ms__board_x": noise, "rep_index": representative}
    write_tables(tmp_path, ops[representative], tables)
    # 25 groups are left for training: rows drawn by themselves would leave 200, and foretell
    # their copies well
    (score,) = scores(tmp_path, "--n", "20,100", "--seeds", "1")
    assert score["n"] == 20
    assert abs(score["spearman"]) < 0.5


def test_patterns_select_tables(tmp_path: Path) -> None:
    ops = np.random.default_rng(0).integers(0, 5, (60, 6)).astype(np.int8)
    tables = {f"latency_ms__{name}": np.ones(60) for name in ("phone_a", "phone_b", "tv")}
    write_tables(tmp_path, ops, tables)
    found = scores(tmp_path, "--table", "phone_?", "--n", "8", "--seeds", "1")
    assert [s["table"][-7:] for s in found] == ["phone_a", "phone_b"]


@pytest.mark.parametrize("op", [_CONV_1X1, _CONV_3X3])
def test_nb201_edges_cost_what_they_do_by_hand(op: int) -> None:
    cells = np.zeros((2, 6), dtype=np.int8)
    cells[1, 3] = op
    empty, one_edge = graph_macs(live(cells))
    # the smallest of the space has 7.78 million, but for pooling
    assert empty == pytest.approx(7.78e6, abs=5e3 + _HALVING_MACS)
    assert one_edge - empty == _MACS_OF_EDGE[op]


def test_a_node_adds_what_leads_to_it() -> None:
    cells = np.array([[_SKIP] * 6, [_SKIP, _NONE, _NONE, _NONE, _SKIP, _NONE]], dtype=np.int8)
    full, chain = live(cells)
    adds = [sum(workload.op == "add" for workload in graph) for graph in (full, chain)]
    # node 2 adds two, node 3 three: 3 additions in each of 15 cells; 2 between the stages
    assert adds == [15 * 3 + 2, 2]


def test_as_written_down_an_edge_of_nothing_is_multiplied_by_zero_and_added() -> None:
    cells = np.array([[_SKIP, _NONE, _NONE, _NONE, _SKIP, _NONE]], dtype=np.int8)
    (graph,) = nb201({RAW: cells}, "cifar10").views[RAW]
    counts = Counter(workload.op for workload in graph)
    assert (counts["scale"], counts["copy"], counts["add"]) == (15 * 4, 15 * 2, 15 * 3 + 2)


def test_what_is_computed_twice_from_one_input_without_weights_can_be_shared() -> None:
    # pooling and a convolution on every way out of the input; then pooling of two other nodes
    cells = np.array([[_AVG_POOL, _AVG_POOL, _AVG_POOL, _AVG_POOL, _CONV_1X1, _AVG_POOL]])
    found = nb201({RAW: cells, FROM_BOTH: cells}, "cifar10").views
    pools = [
        sum(w.op == "depthwise_conv2d" and w.kernel == (3, 3) for w in found[view][0])
        for view in (FROM_BOTH, f"{FROM_BOTH}_shared")
    ]
    assert pools == [15 * 5, 15 * 3]
    twins = np.array([[_CONV_3X3, _CONV_3X3, _NONE, _CONV_3X3, _SKIP, _SKIP]])
    convolutions = nb201({RAW: twins, FROM_BOTH: twins}, "cifar10").views
    # weights of their own: nothing to share
    assert convolutions[FROM_BOTH] == convolutions[f"{FROM_BOTH}_shared"]


def test_the_longest_path_is_that_of_the_heaviest_operators() -> None:
    # 0 to 3 over 1 with two 3 x 3, beside an edge from 0 to 3 and a way over 2
    cell = [_CONV_3X3, _CONV_1X1, _NONE, _CONV_3X3, _CONV_3X3, _CONV_1X1]
    only = [_CONV_3X3, _NONE, _NONE, _NONE, _CONV_3X3, _NONE]
    cells = np.array([cell, only], dtype=np.int8)
    paths = nb201({RAW: cells, FROM_BOTH: cells}, "cifar10").views[LONGEST_PATH]
    assert paths[0] == paths[1] == live(cells)[1]


def test_groups_halve_the_pointwise_macs_of_an_fbnet_block() -> None:
    names = ("k3_e1", "k3_e1_g2", "skip")
    layer = np.full((3, 22), 2)
    layer[:, 1:3] = [[2, 2], [2, 0], [2, 1]]
    skip, whole, grouped = graph_macs(fbnet(layer, names).views[RAW])
    pixels = 32 * 32  # second layer of the second stage: 24 channels in and out
    assert whole - skip == pixels * 24 * (24 + 9 + 24)
    assert grouped - skip == pixels * 24 * (12 + 9 + 12)


def test_ofa_slots_beyond_the_depth_change_nothing() -> None:
    kernels, expansions = np.full((2, 20), 3), np.full((2, 20), 6)
    kernels[1, 3], expansions[1, 3] = 7, 3
    depths, sides = np.full((2, 5), 3), np.full(2, 128)
    built = ofa(kernels, expansions, depths, sides)
    assert built.views[RAW][0] == built.views[RAW][1]
    assert np.array_equal(*built.encodings)


@pytest.mark.skipif("HWNAS_DATA" not in os.environ, reason="HWNAS_DATA names no folder")
def test_nb201_macs_are_those_of_the_published_tables() -> None:
    with np.load(Path(os.environ["HWNAS_DATA"]) / "nb201_arch.npz") as arrays:
        ops, published = arrays["ops"], arrays["macs_nominal"]
    graphs = nb201({RAW: ops[:500]}, "cifar10").views[RAW]
    counted = [tuple(w for w in graph if w.op in ("conv2d", "linear")) for graph in graphs]
    # what stands around the cells is rounded there, to 7.78 million
    assert graph_macs(counted) == pytest.approx(published[:500].astype(float), abs=5e3)
