"""Sensor windows, from a CSV of samples or an NPY of windows."""

from __future__ import annotations

import csv
import itertools
import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.dataset_config import WindowsSource
from hwnas.datasets._types import RawData
from hwnas.datasets.labels import encode_labels
from hwnas.datasets.paths import resolve_path
from hwnas.errors import UserError


def read_windows(source: WindowsSource, base_dir: Path) -> RawData:
    """Read windows as ``(N, C, 1, T)``; see `WindowsSource`."""
    path = resolve_path(source.path, base_dir)
    if path.suffix.lower() == ".csv":
        x, labels, groups = _from_csv(source, path)
    elif path.suffix.lower() == ".npy":
        x, labels, groups = _from_npy(source, path, base_dir)
    else:
        raise UserError(f"{path}: wanted a .csv or .npy file")
    y, names = encode_labels(labels, str(path))
    return RawData(
        str(path),
        x[:, :, None, :],
        y,
        names,
        groups,
        preprocessing={"layout": "CT"},
        raw=lambda index: x[index],
    )


def _from_csv(
    source: WindowsSource, path: Path
) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any] | None]:
    """Cut runs of equal label and group into windows; none crosses the border of a run."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or ())
            channels = source.channels or [
                name for name in header if name not in (source.label, source.group)
            ]
            for name in (*channels, source.label, *([source.group] if source.group else [])):
                if name not in header:
                    raise UserError(f"{path}: no column {name!r}. It holds: {', '.join(header)}.")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None
    if source.group is None and source.step < source.window:
        raise UserError(
            f"{path}: windows of {source.window} rows overlap at dataset.step {source.step}, so "
            "training and test would share rows. Name the recording's column as dataset.group, "
            "or set dataset.step to dataset.window."
        )
    values = np.empty((len(rows), len(channels)), dtype=np.float32)
    for index, row in enumerate(rows):
        for column, name in enumerate(channels):
            try:
                values[index, column] = float(row[name])
            except (TypeError, ValueError):
                raise UserError(
                    f"{path}:{index + 2}: column {name!r}: wanted a number. Got {row[name]!r}."
                ) from None
    labels = _text_column(rows, source.label, path)
    groups = _text_column(rows, source.group, path) if source.group else None
    starts = [
        start
        for first, end in _runs(labels, groups)
        for start in range(first, end - source.window + 1, source.step)
    ]
    if not starts:
        raise UserError(
            f"{path}: no run of one label has {source.window} rows. Lower dataset.window."
        )
    x = np.stack([values[start : start + source.window].T for start in starts])
    return x, labels[starts], None if groups is None else groups[starts]


def _text_column(rows: list[dict[str, str]], name: str, path: Path) -> NDArray[np.str_]:
    for index, row in enumerate(rows):
        if not row[name]:
            raise UserError(f"{path}:{index + 2}: column {name!r} is empty")
    return np.array([row[name] for row in rows])


def _runs(labels: NDArray[Any], groups: NDArray[Any] | None) -> list[tuple[int, int]]:
    """Return ``(first, end)`` of the longest stretches of one label and group."""
    if len(labels) == 0:
        return []
    changes = labels[1:] != labels[:-1]
    if groups is not None:
        changes |= groups[1:] != groups[:-1]
    borders = [0, *(np.flatnonzero(changes) + 1).tolist(), len(labels)]
    return list(itertools.pairwise(borders))


def _from_npy(
    source: WindowsSource, path: Path, base_dir: Path
) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any] | None]:
    if source.labels_path is None:
        raise UserError(f"{path}: an NPY of windows needs dataset.labels_path")
    x = _load_npy(path)
    if x.ndim != 3 or not np.issubdtype(x.dtype, np.number):
        raise UserError(f"{path}: wanted windows (N, C, T). Got {x.dtype} of shape {x.shape}.")
    labels = _load_npy(resolve_path(source.labels_path, base_dir))
    groups = None
    if source.groups_path is not None:
        groups = _load_npy(resolve_path(source.groups_path, base_dir))
    return x.astype(np.float32), labels, groups


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            array = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, tokenize.TokenError) as error:
        raise UserError(f"{path}: not a plain NPY file ({str(error).splitlines()[0]})") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: wanted an .npy file. Got an archive.")
    return array
