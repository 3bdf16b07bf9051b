"""From a source to a checked, split and normalized data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.dataset_config import DatasetSource
from hwnas.datasets._types import Dataset, RawData, RawSample, Split
from hwnas.datasets.splits import split_indices
from hwnas.errors import UserError


def load_dataset(source: DatasetSource, base_dir: Path) -> Dataset:
    """Read a source, check it, split it, and normalize it by the training split.

    Args:
        source: Section ``dataset`` of an experiment.
        base_dir: Folder that relative paths start from.

    Raises:
        UserError: If the data is missing, damaged, or cannot be split.
    """
    return load_with_raw(source, base_dir)[0]


def load_with_raw(source: DatasetSource, base_dir: Path) -> tuple[Dataset, RawSample | None]:
    """Load a data set, and what reads a validation sample as it was before preprocessing.

    Raises:
        UserError: As `load_dataset`.
    """
    raw = source.read(base_dir)
    _check(raw)
    train, validation, test = split_indices(
        raw, source.validation_fraction, source.test_fraction, source.split_seed
    )
    # one mean and deviation per channel, from the training split alone
    mean, std = _channel_statistics(raw.x, train)

    def split(indices: NDArray[np.int64]) -> Split:
        x = (raw.x[indices] - mean[:, None, None]) / std[:, None, None]
        groups = None if raw.groups is None else raw.groups[indices]
        return Split(np.ascontiguousarray(x, dtype=np.float32), raw.y[indices], groups)

    dataset = Dataset(
        name=raw.name,
        class_names=raw.class_names,
        train=split(train),
        validation=split(validation),
        test=split(test),
        preprocessing={
            **raw.preprocessing,
            "normalization": {"mean": mean.tolist(), "std": std.tolist()},
        },
    )
    read = raw.raw
    return dataset, None if read is None else lambda index: read(int(validation[index]))


def _channel_statistics(
    x: NDArray[np.float32], indices: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each channel; 1 where a channel is constant."""
    # channel by channel: in double precision all at once take several times the data's memory
    mean, std = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for c in range(x.shape[1]):
        values = x[indices, c].astype(np.float64)
        mean[c], std[c] = values.mean(), values.std()
    rounding = np.finfo(np.float32).eps * np.abs(mean)
    std = np.where(std > rounding, std, 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


def _check(raw: RawData) -> None:
    if raw.x.ndim != 4 or 0 in raw.x.shape:
        raise UserError(f"{raw.name}: wanted samples (N, C, H, W). Got shape {raw.x.shape}.")
    if len(raw.x) != len(raw.y):
        raise UserError(f"{raw.name}: {len(raw.x)} samples, but {len(raw.y)} labels.")
    if raw.groups is not None and raw.groups.shape != raw.y.shape:
        raise UserError(
            f"{raw.name}: wanted one group for each of {len(raw.y)} samples. "
            f"Got groups of shape {raw.groups.shape}."
        )
    if not np.isfinite(raw.x).all():
        bad = int(np.argmin(np.isfinite(raw.x).reshape(len(raw.x), -1).all(axis=1)))
        raise UserError(f"{raw.name}: sample {bad} holds NaN or infinity. Remove or repair it.")
    present = np.unique(raw.y)
    if len(present) < 2:
        raise UserError(
            f"{raw.name}: wanted at least two classes. Got only "
            f"{raw.class_names[int(present[0])]!r}."
        )
