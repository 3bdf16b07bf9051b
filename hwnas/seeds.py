"""Seeds that derive from others."""

from __future__ import annotations

import numpy as np


def derived_seed(seed: int, *stream: int) -> int:
    """Return a seed of a stream: equal streams of one seed have equal seeds."""
    return int(np.random.SeedSequence([seed, *stream]).generate_state(1)[0] >> 1)
