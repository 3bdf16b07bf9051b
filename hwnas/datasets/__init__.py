"""Data sets: read, check, split without leaks, normalize by the training split."""

from hwnas.datasets._types import Dataset, RawData, RawSample, Split
from hwnas.datasets.loading import load_dataset, load_with_raw

__all__ = ["Dataset", "RawData", "RawSample", "Split", "load_dataset", "load_with_raw"]
