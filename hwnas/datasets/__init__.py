"""Data sets: read, check, split without leaks, normalize by the training split."""

from hwnas.datasets._types import Dataset, RawData, Split
from hwnas.datasets.loading import load_dataset

__all__ = ["Dataset", "RawData", "Split", "load_dataset"]
