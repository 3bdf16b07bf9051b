"""Print SI values for people."""

from __future__ import annotations

import math

_PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}


def engineering(value: float, unit: str, digits: int = 3) -> str:
    """Return a value with the prefix that leaves 1 to 999 before the unit.

    Args:
        value: In ``unit``, which has no prefix (``s``, ``J``, ``W``).
        unit: SI unit.
        digits: Significant digits.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    # rounded first, so that 999.9 becomes 1 k and not 1000
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = min(9, max(-9, 3 * math.floor(math.log10(abs(rounded)) / 3)))
    scaled = rounded / 10**exponent
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(scaled))))
    return f"{scaled:.{decimals}f} {_PREFIXES[exponent]}{unit}"


def kibibytes(value: float) -> str:
    """Return bytes as KiB."""
    return f"{value / 1024:.0f} KiB"


def percent(value: float, low: float | None = None, high: float | None = None) -> str:
    """Return a fraction as percent, with its interval where there is one."""
    if low is None or high is None:
        return f"{100 * value:.1f} %"
    return f"{100 * value:.1f} % ({100 * low:.1f}-{100 * high:.1f})"
