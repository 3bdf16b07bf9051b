"""scikit-learn's handwritten digits."""

from __future__ import annotations

import numpy as np

from hwnas.datasets._types import RawData

_WHITE = 16.0


def read_digits() -> RawData:
    """Return 1,797 gray images of 8x8, scaled to [0, 1].

    References:
        Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits.
        doi:10.24432/C50P49
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return RawData(
        name="digits",
        x=(images.reshape(-1, 1, 8, 8) / _WHITE).astype(np.float32),
        y=labels.astype(np.int64),
        class_names=tuple("0123456789"),
        preprocessing={"scale": {"divide_by": _WHITE}},
        raw=lambda index: images[index].reshape(8, 8).astype(np.uint8),
    )
