"""What a measurement's flags mean, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from targets import Flag

ADVICE: Mapping[Flag, str] = {
    "clock_unknown": "the device does not tell its clock: latencies may wander unnoticed",
    "clock_unpinned": "the clock was free to move: set clock_khz, and let the server's user "
    "write to cpufreq",
    "loaded": "something else was running on the device: stop it",
    "throttled": "the device throttled: better cooling or power supply, or a lower clock_khz",
    "drifting": "the device became slower meanwhile: better cooling or power supply, or a lower "
    "clock_khz",
}
