"""What a power meter is: an energy counter or a power sampler, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MeterError(RuntimeError):
    """A meter is missing, forbidden, or says something that cannot be.

    Args:
        reason: One line: where, and what is wrong.
        fix: What to do about it; one line.
    """

    def __init__(self, reason: object, fix: str = "") -> None:
        super().__init__(str(reason))
        self.fix = fix


@dataclass(frozen=True)
class MeterInfo:
    """What a meter measures, and how well.

    Args:
        rail: Identity of what it measures: two meters of one rail would count it twice.
        scope: What that includes, and what not, for people; one line.
        update_period_s: Between two new values.
        resolution: Smallest step: joules of a counter, watts of a sampler.
        range_w: Largest power it can show, where it is known.
        gain_error: Limit of its error relative to the power, as its maker states it.
        offset_error_w: Limit of its error at no power.
        averages: Whether a sample is the mean since the one before, not the power at
            an instant; true of every counter.
        polled: Whether the reader chooses the instants, so that they can be jittered.
        bandwidth_hz: Of what it shows: shorter peaks are flattened.
        counts: Whether it adds up energy: an `EnergyCounter`.
        voltage_v: Supply voltage, where the meter knows it.
        markers: Whether it records logic inputs beside the samples.
        branch_of: Rails that feed this one: measured beside one of them, it would count twice.
        source: Where these figures come from.
    """

    rail: str
    scope: str
    update_period_s: float
    resolution: float
    range_w: float | None
    gain_error: float
    offset_error_w: float
    averages: bool
    polled: bool
    bandwidth_hz: float
    counts: bool = False
    voltage_v: float | None = None
    markers: bool = False
    branch_of: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        # a list, as it comes from JSON
        object.__setattr__(self, "branch_of", tuple(self.branch_of))


@dataclass(frozen=True)
class PowerSamples:
    """A piece of a sampler's stream.

    Args:
        t_s: Shape ``(n,)``, increasing: when each sample was taken (of an averaging meter,
            the middle of what it averages), by ``time.monotonic`` of the reading process.
        power_w: Shape ``(n,)``.
        marker: Shape ``(n,)``, uint8: logic inputs, bit by bit; zeros where there are none.
        n_dropped: Samples lost since the piece before.
    """

    t_s: NDArray[np.float64]
    power_w: NDArray[np.float64]
    marker: NDArray[np.uint8]
    n_dropped: int = 0


@runtime_checkable
class EnergyCounter(Protocol):
    """A meter that adds up energy itself."""

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        ...

    @property
    def wrap_s(self) -> float:
        """It must be read more often than this, or a wrap of its register goes unseen."""
        ...

    def joules(self) -> float:
        """Return the energy since it was opened; it never decreases.

        Raises:
            MeterError: If it cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@runtime_checkable
class PowerSampler(Protocol):
    """A meter that shows the power again and again."""

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        ...

    def stream(self) -> Iterator[PowerSamples]:
        """Yield what it measures, in order, a piece at least every 0.2 s, until closed.

        Raises:
            MeterError: If it is unplugged, or says something that cannot be.
        """
        ...

    def close(self) -> None:
        """Stop it, and let go of it."""
        ...


PowerMeter: TypeAlias = "EnergyCounter | PowerSampler"
