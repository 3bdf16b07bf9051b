"""What a loader returns, and what a search gets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

RawSample: TypeAlias = Callable[[int], NDArray[Any]]
"""Reads one sample, by its index, as it was before any preprocessing."""


@dataclass(frozen=True)
class RawData:
    """Samples as a loader read them, before splitting and normalization.

    Args:
        name: What messages call the data.
        x: Shape ``(N, C, H, W)``, float32.
        y: Shape ``(N,)``, class indices from 0.
        class_names: One per class.
        groups: Shape ``(N,)``: speaker, subject or recording, where known.
        official_test: Shape ``(N,)``: True for samples of the official test set.
        preprocessing: JSON-ready: how ``x`` came from the source, as
            `hwnas.preprocessing.preprocess` repeats it.
        raw: A sample before that; ``None`` where the source cannot say.
    """

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    groups: NDArray[Any] | None = None
    official_test: NDArray[np.bool_] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    raw: RawSample | None = None


@dataclass(frozen=True)
class Split:
    """Samples ``x`` of shape ``(N, C, H, W)``, labels ``y`` and groups of shape ``(N,)``."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    groups: NDArray[Any] | None = None


@dataclass(frozen=True)
class Dataset:
    """A checked, split and normalized data set.

    Args:
        name: What messages call it.
        class_names: One per class.
        train: To fit weights.
        validation: To choose architectures and thresholds.
        test: To judge; nothing may be chosen by it.
        preprocessing: JSON-ready: reproduces the features at deployment.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    preprocessing: Mapping[str, Any]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of one sample."""
        _, c, h, w = self.train.x.shape
        return (c, h, w)

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of all splits."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            digest.update(np.ascontiguousarray(split.x).tobytes())
            digest.update(np.ascontiguousarray(split.y).tobytes())
        return digest.hexdigest()[:16]
