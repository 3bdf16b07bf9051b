"""What evaluations took: time, processor seconds, and energy of the computers they ran on."""

from __future__ import annotations

import platform
import threading
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from hwnas.errors import UserError
from hwnas.stop_config import StopConfig
from targets import Provenance
from targets.meters import MeterError
from targets.meters.rapl import Rapl


@dataclass(frozen=True)
class Spending:
    """What one evaluation took.

    Args:
        host: Name of the computer.
        began_s: When it began, UNIX time.
        ended_s: When it ended.
        cpu_s: Processor seconds of the evaluation itself.
        package_energy_j: Measured energy of the computer's processor packages meanwhile, with
            all that ran beside it; ``None`` where its counters cannot be read.
    """

    host: str
    began_s: float
    ended_s: float
    cpu_s: float
    package_energy_j: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Spending:
        """Rebuild what `to_dict` returned."""
        return cls(**data)


@dataclass(frozen=True)
class ComputeEnergy:
    """Energy of the computers that a search ran on.

    Args:
        joules: Of their processors.
        provenance: ``measured`` where counters tell all of it, else ``modelled``.
    """

    joules: float
    provenance: Provenance


class Spent:
    """What all evaluations of a search took, added up as they end."""

    def __init__(self) -> None:
        self._busy = _Covered()
        self._measured: defaultdict[str, _Covered] = defaultdict(_Covered)
        self._measured_j = self._unmeasured_cpu_s = 0.0
        self._is_measured = True
        self.seconds = 0.0
        """How long at least one evaluation ran: pauses of a search do not count."""

    def add(self, spending: Spending) -> None:
        """Add what one evaluation took."""
        began_s, ended_s = spending.began_s, spending.ended_s
        self.seconds += self._busy.add(began_s, ended_s)
        # a clock that was put back leaves no duration to tell a power by
        if spending.package_energy_j is None or ended_s <= began_s:
            self._is_measured = False
            self._unmeasured_cpu_s += spending.cpu_s
        else:
            power_w = spending.package_energy_j / (ended_s - began_s)
            self._measured_j += self._measured[spending.host].add(began_s, ended_s) * power_w

    def energy(self, core_power_w: float | None) -> ComputeEnergy | None:
        """Return the energy of the computers while they evaluated.

        Counters see a whole computer. What evaluations measured that ran on it at once is
        therefore not added: each moment counts with the mean power of the first that ended.
        Where there is no counter, the energy is ``cpu_s * core_power_w``.

        Args:
            core_power_w: Power of one busy processor core, as stated by who runs the search.

        Returns:
            ``None`` where an evaluation was not measured, and no power is stated.
        """
        if self._is_measured:
            return ComputeEnergy(self._measured_j, "measured")
        if core_power_w is None:
            return None
        modelled_j = self._unmeasured_cpu_s * core_power_w
        return ComputeEnergy(self._measured_j + modelled_j, "modelled")


class _Covered:
    """Times that intervals cover, as disjoint ones in order."""

    def __init__(self) -> None:
        self._began_s: list[float] = []
        self._ended_s: list[float] = []

    def add(self, began_s: float, ended_s: float) -> float:
        """Add an interval; return how many of its seconds no other covered."""
        if ended_s <= began_s:
            return 0.0
        # those that it touches become one with it; as they come, these are the last ones
        first = bisect_left(self._ended_s, began_s)
        last = bisect_right(self._began_s, ended_s)
        touched = slice(first, last)
        begins, ends = self._began_s[touched], self._ended_s[touched]
        merged_began_s, merged_ended_s = min([began_s, *begins]), max([ended_s, *ends])
        before_s = sum(e - b for b, e in zip(begins, ends, strict=True))
        self._began_s[touched], self._ended_s[touched] = [merged_began_s], [merged_ended_s]
        # rounding must not take seconds away
        return max(0.0, merged_ended_s - merged_began_s - before_s)


def check_joules(stop: StopConfig) -> None:
    """Refuse a budget of joules that evaluations on this computer could not tell.

    Raises:
        UserError: As `SpendingMeter.require_energy`.
    """
    if stop.joules is not None:
        with SpendingMeter() as meter:
            meter.require_energy(stop.cpu_core_power_w)


class SpendingMeter:
    """Tells what the evaluations of one worker take, with RAPL counters where it may read them.

    Args:
        root: Of sysfs.
    """

    def __init__(self, *, root: str = "/sys") -> None:
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._watch: threading.Thread | None = None
        self.why_unmeasured: str | None = None
        """Why there are no measured energies, if there are none."""
        try:
            self._rapl: Rapl | None = Rapl(root=root)
        except MeterError as error:
            self._rapl, self.why_unmeasured = None, f"{error}; {error.fix}".rstrip("; ")
        else:
            # counters come round: they must be read more often than that
            period_s = self._rapl.wrap_s / 2
            self._watch = threading.Thread(target=self._keep_up, args=(period_s,), daemon=True)
            self._watch.start()
        self.begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._watch is not None:
            self._watch.join()

    def begin(self) -> None:
        """Note that an evaluation begins."""
        self._began_s, self._began_j = time.time(), self._joules()

    def end(self, cpu_s: float) -> Spending:
        """Return what the evaluation that began last took.

        Args:
            cpu_s: Processor seconds that it took, in whichever process.
        """
        ended_j = self._joules()
        energy_j = None
        if ended_j is not None and self._began_j is not None:
            energy_j = ended_j - self._began_j
        return Spending(platform.node(), self._began_s, time.time(), cpu_s, energy_j)

    def require_energy(self, core_power_w: float | None) -> None:
        """Refuse a budget of joules that could not be told.

        Raises:
            UserError: If energies are neither measured here nor a power is stated.
        """
        if self.why_unmeasured is not None and core_power_w is None:
            raise UserError(
                f"search.stop.joules: no energy is measured here ({self.why_unmeasured}). "
                "State the power of a busy core in search.stop.cpu_core_power_w."
            )

    def _keep_up(self, period_s: float) -> None:
        while not self._closed.wait(period_s):
            self._joules()

    def _joules(self) -> float | None:
        with self._lock:
            if self._rapl is None:
                return None
            try:
                return self._rapl.joules()
            except MeterError as error:
                # the evaluation under way is not measured, nor any after it
                self._rapl, self.why_unmeasured = None, str(error)
                return None
