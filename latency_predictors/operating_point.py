"""A device's clock as a feature: what part of a cost follows it, and how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from targets import Measurement

CLOCK_EXPONENTS: dict[str, tuple[int, ...]] = {
    "latency_s": (0, -1),
    "energy_j": (0, -1, 1, 2),
    "power_w": (0, 1, 2, 3),
    "flash_bytes": (0,),
    "peak_ram_bytes": (0,),
}
"""Powers of the relative clock ``r`` that each column of a metric's cost prior comes with.

Latency: cycles take ``1/r``, waiting for memory does not change. Energy: an operation
switches ``C V^2``, and static power ``~ V`` flows as long as the latency lasts. With a voltage
that rises linearly, ``V = a + b r``, these are ``1, r, r^2`` and ``(a + b r)(1/r, 1)``: the
voltage itself need not be known. Power is energy over the time that cycles take.

References:
    Chandrakasan, Sheng & Brodersen (1992), Low-power CMOS digital design, IEEE J. Solid-State
    Circuits 27(4), Sec. II. doi:10.1109/4.126534
"""


def relative_clock(measurement: Measurement, highest_khz: int) -> float:
    """Return the clock a measurement was taken at, relative to the device's highest.

    Args:
        measurement: With the pinned clock in its device state.
        highest_khz: Of the device.

    Raises:
        ValueError: If its clock is not known, or moved while it was measured.
    """
    state = measurement.device_state
    clock = state.get("after_clock_khz")
    if not isinstance(clock, int) or not state.get("clock_pinned") or measurement.disturbed:
        raise ValueError(
            f"measurement of {measurement.measured_at or 'unknown time'}: wanted a pinned clock "
            f"that was kept, got {clock} kHz. Measure with clock_khz set"
        )
    return clock / highest_khz


def over_clocks(
    columns: NDArray[np.float64], relative_clocks: NDArray[np.float64], metric: str
) -> NDArray[np.float64]:
    """Return the columns of a cost prior once per power of the clock.

    Args:
        columns: Shape ``(n, c)``, of n graphs; the first is the constant, and stays the first.
        relative_clocks: Shape ``(n,)``.
        metric: A key of `CLOCK_EXPONENTS`; k are its powers.

    Returns:
        Shape ``(n, k c)``.
    """
    parts = [columns * relative_clocks[:, None] ** power for power in CLOCK_EXPONENTS[metric]]
    return np.concatenate(parts, axis=1)


def checked_clocks(relative_clocks: Sequence[float], n: int) -> NDArray[np.float64]:
    """Return relative clocks as an array of shape ``(n,)``.

    Raises:
        ValueError: If one is not above 0 and at most 1, or their number is not ``n``.
    """
    clocks = np.asarray(relative_clocks, dtype=np.float64)
    if clocks.shape != (n,) or not np.all((clocks > 0) & (clocks <= 1)):
        raise ValueError(f"relative_clocks: wanted {n} numbers above 0 and up to 1, got {clocks}")
    return clocks
