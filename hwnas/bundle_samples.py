"""Validation samples in a bundle, with what its networks and operating points answer to them."""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError

Logits: TypeAlias = tuple[NDArray[np.float32], ...]

# what numpy raises for a damaged archive, see `hwnas.datasets.npz`
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, tokenize.TokenError)


@dataclass(frozen=True)
class PointAnswers:
    """What an operating point answers.

    Args:
        classes: Shape ``(n,)``.
        exits: Shape ``(n,)``: where each sample leaves.
    """

    classes: NDArray[np.int64]
    exits: NDArray[np.int64]


@dataclass(frozen=True)
class BundleSamples:
    """Samples and answers.

    Args:
        x: What networks read, shape ``(n, C, H, W)``.
        y: True classes, shape ``(n,)``.
        raw: The first of them before preprocessing, each of its own shape.
        logits: By network, one array ``(n, classes)`` per exit: of the trained network, or of
            ONNX Runtime where the network is not float32 or exists as ONNX graphs alone.
        answers: By operating point.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    raw: tuple[NDArray[Any], ...]
    logits: Mapping[str, Logits]
    answers: Mapping[str, PointAnswers]

    def save(self, path: Path) -> None:
        """Write them as NPZ.

        Its arrays: ``x``, ``y``, ``raw/I``, ``logits/NETWORK/EXIT``, ``classes/POINT``,
        ``exits/POINT``.
        """
        arrays: dict[str, NDArray[Any]] = {"x": self.x, "y": self.y}
        arrays |= {f"raw/{index}": sample for index, sample in enumerate(self.raw)}
        for network, exits in self.logits.items():
            arrays |= {f"logits/{network}/{k}": logits for k, logits in enumerate(exits)}
        for point, answers in self.answers.items():
            arrays |= {f"classes/{point}": answers.classes, f"exits/{point}": answers.exits}
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path, exits: Mapping[str, int], points: Mapping[str, Any]) -> BundleSamples:
        """Read them.

        Args:
            path: Written by `save`.
            exits: How many each network has.
            points: Names of the operating points, as keys.

        Raises:
            UserError: If anything is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            n_raw = sum(name.startswith("raw/") for name in arrays)
            return cls(
                arrays["x"],
                arrays["y"],
                tuple(arrays[f"raw/{index}"] for index in range(n_raw)),
                {
                    network: tuple(arrays[f"logits/{network}/{k}"] for k in range(count))
                    for network, count in exits.items()
                },
                {
                    point: PointAnswers(arrays[f"classes/{point}"], arrays[f"exits/{point}"])
                    for point in points
                },
            )
        except _DAMAGE as error:
            raise UserError(f"{path}: damaged ({type(error).__name__}: {error}).") from None
