"""Arrays as bytes, between processes that do not trust pickles."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays: TypeAlias = "tuple[NDArray[np.float32], ...]"


def pack(arrays: Sequence[NDArray[np.float32]]) -> bytes:
    """Return arrays as the bytes of an ``.npz``."""
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


def unpack(content: bytes) -> Arrays:
    """Return the arrays of `pack`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return tuple(archive[f"arr_{i}"] for i in range(len(archive.files)))


def unpack_named(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` by name."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
