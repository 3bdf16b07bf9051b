"""Sensor windows from CSV and NPY files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.dataset_config import WindowsSource
from hwnas.datasets import load_dataset
from hwnas.errors import UserError

Row = tuple[float | str, ...]


def source(path: str = "data.csv", **settings: Any) -> WindowsSource:
    settings = {"window": 4, "step": 4, **settings}
    return WindowsSource(kind="windows", path=path, **settings)


def write(folder: Path, header: str, rows: Sequence[Row]) -> None:
    lines = [header, *(",".join(str(cell) for cell in row) for row in rows)]
    (folder / "data.csv").write_text("\n".join(lines) + "\n")


def complaint(read: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_windows_never_cross_the_border_of_a_label_or_a_group(tmp_path: Path) -> None:
    rows: list[Row] = [
        *((i, 10 * i, "walk", "ann") for i in range(9)),
        *((i, 10 * i, "run", "ann") for i in range(9, 15)),
        *((i, 10 * i, "run", "bob") for i in range(15, 21)),
    ]
    write(tmp_path, "ax,ay,label,who", rows)
    raw = source(step=2, group="who").read(tmp_path)
    assert raw.x.shape == (3 + 2 + 2, 2, 1, 4)
    assert raw.x[:, 0, 0, 0].tolist() == [0, 2, 4, 9, 11, 15, 17]
    steps = np.diff(raw.x[:, 0, 0], axis=1)
    assert (steps == 1).all()
    assert np.array_equal(raw.x[:, 1], 10 * raw.x[:, 0])
    assert [raw.class_names[i] for i in raw.y] == ["walk"] * 3 + ["run"] * 4
    assert raw.groups is not None
    assert raw.groups.tolist() == ["ann"] * 5 + ["bob"] * 2


def test_only_the_named_channels_are_read_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, "t,ax,ay,kind", [(i, i + 0.5, -i, "ab"[i // 8]) for i in range(16)])
    raw = source(channels=["ay", "ax"], label="kind").read(tmp_path)
    assert raw.x[0, :, 0].tolist() == [[0, -1, -2, -3], [0.5, 1.5, 2.5, 3.5]]


def test_overlapping_windows_of_one_recording_stay_in_one_split(tmp_path: Path) -> None:
    rows: list[Row] = [
        (1000 * g + 100 * k + i, "ab"[k], g) for g in range(5) for k in range(2) for i in range(12)
    ]
    write(tmp_path, "ax,label,who", rows)
    dataset = load_dataset(source(step=1, group="who"), tmp_path)
    normalization = dataset.preprocessing["normalization"]
    parts = [
        set(np.round(s.x * normalization["std"][0] + normalization["mean"][0]).ravel().tolist())
        for s in (dataset.train, dataset.validation, dataset.test)
    ]
    assert sum(map(len, parts)) == len(rows) == len(set.union(*parts))


def test_overlapping_windows_without_groups_would_leak_and_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "ax,label", [(i, "ab"[i // 20]) for i in range(40)])
    message = complaint(lambda: source(step=2).read(tmp_path))
    assert "training and test would share rows" in message
    assert "dataset.group" in message


@pytest.mark.parametrize(
    ("header", "rows", "settings", "wanted"),
    [
        ("ax,kind", [(1, "a")], {}, "no column 'label'. It holds: ax, kind."),
        ("ax,label", [(1, "a")], {"channels": ["az"]}, "no column 'az'"),
        ("ax,label", [(1, "a")], {"group": "who"}, "no column 'who'"),
        ("ax,label", [(1, "a"), ("up", "a")], {}, "data.csv:3: column 'ax': wanted a number"),
        ("label,ax", [("a", 1), ("a",)], {}, "data.csv:3: column 'ax': wanted a number"),
        ("ax,label", [(1, "a"), (1,)], {}, "data.csv:3: column 'label' is empty"),
        ("ax,label", [(1, "a"), (1, "")], {}, "data.csv:3: column 'label' is empty"),
        ("ax,label", [(1, "a")] * 3 + [(1, "b")] * 3, {}, "no run of one label has 4 rows"),
        ("ax,label", [], {}, "no run of one label has 4 rows"),
        ("label", [("a",)] * 8, {}, "wanted samples (N, C, H, W)"),
        ("ax,label", [(1, "a")] * 8, {}, "Got only 'a'"),
        ("ax,label", [(1, "a")] * 16 + [("nan", "b")] * 8, {}, "sample 4 holds NaN"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_line_or_column(
    header: str, rows: list[Row], settings: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    write(tmp_path, header, rows)
    assert wanted in complaint(lambda: load_dataset(source(**settings), tmp_path))


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(b"\xff\xfe\x00ax,label")
    assert "not a CSV file" in complaint(lambda: source().read(tmp_path))
    (tmp_path / "data.csv").write_bytes(b"")
    assert "no column 'label'" in complaint(lambda: source().read(tmp_path))
    (tmp_path / "data.csv").unlink()
    (tmp_path / "data.csv").mkdir()
    assert "Is a directory" in complaint(lambda: source().read(tmp_path))
    (tmp_path / "data.txt").touch()
    assert "wanted a .csv or .npy" in complaint(lambda: source("data.txt").read(tmp_path))


def npy_source(**settings: Any) -> WindowsSource:
    return source("x.npy", **{"labels_path": "y.npy", **settings})


def write_npy(folder: Path, n: int = 40) -> np.ndarray[Any, Any]:
    x = np.random.default_rng(0).normal(size=(n, 3, 16))
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", np.array(["walk", "run"])[np.arange(n) % 2])
    np.save(folder / "g.npy", np.arange(n) // 8)
    return x


def test_an_npy_of_windows_gains_a_height_of_one(tmp_path: Path) -> None:
    x = write_npy(tmp_path)
    raw = npy_source(groups_path="g.npy").read(tmp_path)
    assert np.array_equal(raw.x[:, :, 0], x.astype(np.float32))
    assert [raw.class_names[i] for i in raw.y[:2]] == ["walk", "run"]
    dataset = load_dataset(npy_source(groups_path="g.npy"), tmp_path)
    assert dataset.input_shape == (3, 1, 16)
    groups = [s.groups for s in (dataset.train, dataset.validation, dataset.test)]
    assert sorted(g for part in groups if part is not None for g in set(part.tolist())) == [
        *range(5)
    ]


def test_arrays_of_windows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    x = write_npy(tmp_path)

    def said(**settings: Any) -> str:
        return complaint(lambda: load_dataset(npy_source(**settings), tmp_path))

    assert "needs dataset.labels_path" in said(labels_path=None)
    assert "none.npy: does not exist" in said(labels_path="none.npy")
    np.save(tmp_path / "short.npy", np.arange(39) % 2)
    assert "40 samples, but 39 labels" in said(labels_path="short.npy")
    assert "Got groups of shape (39,)" in said(groups_path="short.npy")
    np.save(tmp_path / "x.npy", x[:, 0])
    assert "wanted windows (N, C, T)" in said()
    np.save(tmp_path / "x.npy", x.astype(str))
    assert "wanted windows (N, C, T)" in said()
    np.save(tmp_path / "x.npy", np.array([[1], "a"], object))
    assert "not a plain NPY file" in said()
    np.savez(tmp_path / "x.npz", x=x)
    archive = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npy").write_bytes(archive)
    assert "Got an archive" in said()
    (tmp_path / "x.npy").write_bytes(archive[:99])
    assert "not a plain NPY file" in said()


def test_an_npy_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    write_npy(tmp_path)
    whole = (tmp_path / "x.npy").read_bytes()
    for length in (*range(140), *range(140, len(whole), 997)):
        (tmp_path / "x.npy").write_bytes(whole[:length])
        assert "not a plain NPY file" in complaint(lambda: npy_source().read(tmp_path))
