"""The measuring of a calibration: what is known is not measured again, and all is counted."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from latency_predictors.measured_architecture import (
    CALIBRATION_ENERGY,
    MeasuredArchitecture,
    measure_architecture,
)
from latency_predictors.noise import Anchor
from search_spaces import Architecture, SearchSpace
from targets import EnergyConfig, Failure, MeasureConfig, Measurement, Target

if TYPE_CHECKING:
    from targets._types import Flag

LEAST_ARCHITECTURES = 8
"""Below this no predictor is fitted."""


class CalibrationError(RuntimeError):
    """Too few architectures could be measured to fit a predictor."""


class CalibrationObserver(Protocol):
    """Told of a calibration, for progress and records; what was known before is not told."""

    def phase(self, title: str, total: int) -> None:
        """So many architectures are measured next."""
        ...

    def measured(
        self, architecture: Architecture, result: tuple[Measurement, ...] | Failure
    ) -> None:
        """An architecture was measured, one measurement per stage, or failed."""
        ...

    def repeated(
        self, architecture: Architecture, result: tuple[Measurement, ...] | Failure
    ) -> None:
        """An architecture measured before was measured again, or failed."""
        ...

    def message(self, text: str) -> None:
        """Something the user should read."""
        ...


class Unobserved:
    """Listens to nothing."""

    def phase(self, title: str, total: int) -> None:
        """See `CalibrationObserver`."""

    def measured(
        self, architecture: Architecture, result: tuple[Measurement, ...] | Failure
    ) -> None:
        """See `CalibrationObserver`."""

    def repeated(
        self, architecture: Architecture, result: tuple[Measurement, ...] | Failure
    ) -> None:
        """See `CalibrationObserver`."""

    def message(self, text: str) -> None:
        """See `CalibrationObserver`."""


class Campaign:
    """Measures architectures of a space on a target for one calibration.

    Args:
        target: Where to measure.
        space: What the architectures are of.
        seed: Of the random weights.
        config: How to time.
        energy: How to measure energies, where the target has power meters.
        known: What was measured before, by ``arch_id``.
        repeats: Of what was measured before, the later measurements, by ``arch_id``.
        fresh: Measure again what the target's cache holds.
        observer: Told of every result.
    """

    def __init__(
        self,
        target: Target,
        space: SearchSpace,
        *,
        seed: int,
        config: MeasureConfig = MeasureConfig(),
        energy: EnergyConfig = CALIBRATION_ENERGY,
        known: Iterable[MeasuredArchitecture] = (),
        repeats: Iterable[MeasuredArchitecture] = (),
        fresh: bool = False,
        observer: CalibrationObserver | None = None,
    ) -> None:
        self.target, self.space, self.seed = target, space, seed
        self.observer: CalibrationObserver = observer or Unobserved()
        self._config, self._energy, self._fresh = config, energy, fresh
        wants_energy = bool(target.spec.meters)
        self._known: dict[str, MeasuredArchitecture] = {}
        for item in known:
            if not wants_energy or all(m.energy is not None for m in item.measurements):
                self._known.setdefault(item.architecture.arch_id, item)
        self._repeats: defaultdict[str, list[MeasuredArchitecture]] = defaultdict(list)
        for item in repeats:
            self._repeats[item.architecture.arch_id].append(item)
        self._failures: list[Failure] = []
        self._flags: Counter[Flag] = Counter()
        self._n_asked = self._n_disturbed = self._n_timed = 0
        self._seconds = 0.0

    def measure(
        self, architectures: Sequence[Architecture], title: str
    ) -> list[MeasuredArchitecture]:
        """Return measurements, in the order asked for, without what failed or was disturbed."""
        new = [a for a in architectures if a.arch_id not in self._known]
        if new:
            self.observer.phase(title, len(new))
        kept = []
        for arch in architectures:
            self._n_asked += 1
            result = self._known.get(arch.arch_id) or self._measure_now(arch)
            if isinstance(result, Failure):
                self._failures.append(result)
                continue
            self._flags.update({flag for m in result.measurements for flag in m.flags})
            if result.disturbed:
                self._n_disturbed += 1
            else:
                kept.append(result)
        return kept

    def repeat(self, first: Sequence[MeasuredArchitecture], times: int = 1) -> list[Anchor]:
        """Measure architectures again, until each was ``times`` times, and return all latencies.

        Failures and what was disturbed are left out, and so are recordings, which answer with
        the very same samples.
        """
        n_missing = sum(max(times - len(self._repeats[m.architecture.arch_id]), 0) for m in first)
        if n_missing:
            self.observer.phase("Measuring again for the noise", n_missing)
        anchors = []
        for item in first:
            again = self._repeats[item.architecture.arch_id]
            while len(again) < times and (found := self._repeat_now(item.architecture)):
                again.append(found)
            different = {
                _samples(m): m.latency_s for m in (item, *again[:times]) if not m.disturbed
            }
            if len(different) > 1:
                anchors.append(Anchor(item.architecture, tuple(different.values())))
        return anchors

    @property
    def seconds_each(self) -> float | None:
        """Mean time it took to measure an architecture; ``None`` before the first."""
        return self._seconds / self._n_timed if self._n_timed else None

    def counts(self) -> Mapping[str, Any]:
        """Return what a calibration reports of its measurements, JSON-ready."""
        return {
            "space": self.space.name,
            "seed": self.seed,
            "n_failures": len(self._failures),
            "n_disturbed": self._n_disturbed,
            "flags": dict(self._flags),
        }

    def require_enough(self, n_measured: int) -> None:
        """Refuse to go on from too few measurements.

        Raises:
            CalibrationError: If ``n_measured`` is less than `LEAST_ARCHITECTURES`.
        """
        if n_measured >= LEAST_ARCHITECTURES:
            return
        reason = f" The last failure: {self._failures[-1].message}" if self._failures else ""
        if self._n_disturbed:
            reason += (
                f" {self._n_disturbed} were throttled or drifting: cool the board, pin its clock."
            )
        raise CalibrationError(
            f"only {n_measured} of {self._n_asked} architectures could be measured on "
            f"{self.target.name!r}; {LEAST_ARCHITECTURES} are needed.{reason}"
        )

    def _measure_now(self, arch: Architecture) -> MeasuredArchitecture | Failure:
        began = time.perf_counter()
        result = measure_architecture(
            self.target,
            self.space,
            arch,
            seed=self.seed,
            config=self._config,
            energy=self._energy,
            fresh=self._fresh,
        )
        self._seconds += time.perf_counter() - began
        self._n_timed += 1
        self.observer.measured(arch, _told(result))
        if not isinstance(result, Failure):
            self._known[arch.arch_id] = result
        return result

    def _repeat_now(self, arch: Architecture) -> MeasuredArchitecture | None:
        result = measure_architecture(
            self.target,
            self.space,
            arch,
            seed=self.seed,
            config=self._config,
            energy=None,
            fresh=True,
        )
        self.observer.repeated(arch, _told(result))
        return None if isinstance(result, Failure) else result


def _told(result: MeasuredArchitecture | Failure) -> tuple[Measurement, ...] | Failure:
    return result if isinstance(result, Failure) else result.measurements


def _samples(measured: MeasuredArchitecture) -> tuple[tuple[float, ...], ...]:
    return tuple(m.latency_s for m in measured.measurements)
