"""Which of many samples, as short text for JSON."""

from __future__ import annotations

import base64
import binascii

import numpy as np
from numpy.typing import NDArray


def pack_bits(bits: NDArray[np.bool_]) -> str:
    """Return booleans of shape ``(n,)`` as base64 text, eight to the byte."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode("ascii")


def unpack_bits(text: str, n: int) -> NDArray[np.bool_]:
    """Return the ``n`` booleans that `pack_bits` made text of.

    Raises:
        ValueError: If the text holds another number of bytes, or is no base64.
    """
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None
    if len(packed) != (n + 7) // 8:
        raise ValueError(f"wanted {(n + 7) // 8} bytes for {n} samples. Got {len(packed)}.")
    return np.unpackbits(packed, count=n).astype(np.bool_)
