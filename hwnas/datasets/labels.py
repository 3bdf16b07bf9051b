"""Turn labels of any kind into class indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError


def encode_labels(labels: NDArray[Any], where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return class indices from 0 and the names of the classes, sorted.

    Raises:
        UserError: If labels are not one number or text per sample.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UserError(f"{where}: wanted one label per sample. Got shape {labels.shape}.")
    if np.issubdtype(labels.dtype, np.floating):
        if not np.all(np.isfinite(labels) & (labels == np.floor(labels))):
            raise UserError(f"{where}: labels hold fractions or NaN; wanted classes")
        labels = labels.astype(np.int64)
    names, y = np.unique(labels, return_inverse=True)
    return y.astype(np.int64), tuple(str(name) for name in names)
