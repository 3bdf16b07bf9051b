"""Several timings of one artifact as one measurement: the faster median, the slower tail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from targets._types import Measurement


def joined(first: Measurement, second: Measurement) -> Measurement:
    """Join two timings of one artifact.

    Whatever else a device does slows it, for a second or two, and never makes it faster: a
    median is that of the faster timing. What slowed the other one may come again, so that no
    doubt is dropped: the tail is that of the timing with the larger P99, flags are those of
    both. Joining a measurement with itself changes nothing: what was joined and recorded can be
    replayed in the same way.

    Args:
        first: Of the artifact; it may be joined of several already.
        second: Of the same artifact, timed in the same way.

    Returns:
        The faster measurement, with the tail, the flags and the energy of both.
    """
    faster = min(first, second, key=lambda m: m.latency_median_s)
    tail_s = max(first.tail_samples_s, second.tail_samples_s, key=_p99_s)
    energies = [m.energy for m in (second, first) if m.energy is not None]
    return replace(
        faster,
        tail_latency_s=() if tail_s == faster.latency_s else tail_s,
        flags=tuple(dict.fromkeys((*first.flags, *second.flags))),
        energy=energies[0] if energies else None,
    )


def _p99_s(samples_s: tuple[float, ...]) -> float:
    return float(np.percentile(samples_s, 99))
