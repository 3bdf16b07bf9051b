"""A real device and its meters, as the energy protocol wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from targets._types import Artifact, Failure, FailureStage
from targets.cpu_clock import Pin, journal_name, pinned
from targets.device_state import State, changing_state, device_state
from targets.disturbance import flags
from targets.energy_measurement import (
    EnergyConfig,
    EnergyMeasurement,
    EnergyObserver,
    EnergyTrial,
)
from targets.energy_protocol import (
    Candidate,
    EnergyProtocol,
    Loop,
    TrialLostError,
)
from targets.energy_statistics import Energies, typical
from targets.meter_link import MeterSet
from targets.meters import MeterError, MeterInfo
from targets.power_trace import PowerTrace, Span
from targets.target_errors import DeviceLostError, DeviceRefusedError, last_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from targets.cached_target import LoadedModel
    from targets.spec import TargetSpec

Open = Callable[[Artifact, float], AbstractContextManager["LoadedModel"]]
_FAULTS = (MeterError, DeviceRefusedError, DeviceLostError, TimeoutError)
_PROBES = 100
_SEED = 0
_SPARE_S = 60.0


@dataclass
class EnergyBench:
    """Measures the energy of artifacts on one target.

    Args:
        spec: Of the target.
        open_artifact: Loads an artifact on the device for so many seconds.
        lost: Called when the device got lost, before it is tried again.
        clocks: Folder of the journals of pinned clocks.
    """

    spec: TargetSpec
    open_artifact: Open
    lost: Callable[[], None]
    clocks: Path

    def measure(
        self,
        artifacts: Sequence[Artifact],
        config: EnergyConfig,
        observer: EnergyObserver | None = None,
    ) -> list[EnergyMeasurement | Failure]:
        """Measure artifacts, their trials in random order."""
        if not self.spec.meters:
            reason = f"target {self.spec.name!r} has no power meter: add one under meters:"
            return [self._failure(a, "meter", reason) for a in artifacts]
        states: list[State] = [{} for _ in artifacts]
        try:
            with self._meters_here() as shared:
                infos = self._infos(artifacts[0], shared)
                protocol = EnergyProtocol(infos, config)
                candidates = [
                    Candidate(partial(self._device, artifact, shared, state))
                    for artifact, state in zip(artifacts, states, strict=True)
                ]

                def observe(index: int, trial: EnergyTrial) -> None:
                    if observer is not None:
                        observer(artifacts[index], trial)

                found = protocol.measure(candidates, observe)
        except _FAULTS as error:
            stage = _stage(error)
            return [self._failure(a, stage, _reason(error)) for a in artifacts]
        return [
            self._result(artifact, energies, candidate, state, infos, config)
            for artifact, energies, candidate, state in zip(
                artifacts, found, candidates, states, strict=True
            )
        ]

    def record(self, artifact: Artifact, seconds: float) -> list[PowerTrace] | Failure:
        """Record the idle device with its meters, to see what they say.

        Args:
            artifact: Anything the device can load.
            seconds: How long.
        """
        try:
            with (
                self._meters_here() as shared,
                self.open_artifact(artifact, seconds + _SPARE_S) as loaded,
                self._meters(loaded, shared) as meters,
            ):
                EnergyProtocol(meters.infos, EnergyConfig())  # says what does not fit together
                meters.start()
                time.sleep(seconds)
                return [trace.checked() for trace in meters.stop()]
        except _FAULTS as error:
            return self._failure(artifact, _stage(error), _reason(error))

    @contextmanager
    def _meters_here(self) -> Iterator[MeterSet | None]:
        """Open the meters for all trials; ``None`` where the board's sessions have to."""
        if any(meter.at == "board" for meter in self.spec.meters) and self.spec.rpc is not None:
            yield None
            return
        with MeterSet(self.spec.meters) as meters:
            yield meters

    @contextmanager
    def _meters(self, loaded: LoadedModel, shared: MeterSet | None) -> Iterator[MeterSet]:
        if shared is not None:
            yield shared
            return
        with MeterSet(self.spec.meters, loaded.meter_channel) as meters:
            yield meters

    def _infos(self, artifact: Artifact, shared: MeterSet | None) -> tuple[MeterInfo, ...]:
        if shared is not None:
            return shared.infos
        with self.open_artifact(artifact, _SPARE_S) as loaded, self._meters(loaded, None) as meters:
            return meters.infos

    @contextmanager
    def _device(
        self, artifact: Artifact, shared: MeterSet | None, state: State, trial_s: float
    ) -> Iterator[MeteredDevice]:
        """Load an artifact with its meters and pin the clock, for one trial."""
        try:
            with ExitStack() as stack:
                loaded = stack.enter_context(self.open_artifact(artifact, trial_s + _SPARE_S))
                meters = stack.enter_context(self._meters(loaded, shared))
                journal = self.clocks / journal_name(loaded.files)
                pin = stack.enter_context(pinned(loaded.files, self.spec.clock_khz, journal))
                state.update(device_state(loaded.files))
                board = loaded.address if self.spec.rpc is not None else None
                state.update(threads=self.spec.threads, board_address=board)
                device = MeteredDevice(loaded, artifact, meters, pin, self.spec)
                yield device
                state.update({f"after_{name}": v for name, v in device.after.items()})
        except (DeviceLostError, TimeoutError) as error:
            self.lost()
            raise TrialLostError(last_line(error), _stage(error)) from error

    def _result(
        self,
        artifact: Artifact,
        found: Energies,
        candidate: Candidate,
        state: State,
        infos: tuple[MeterInfo, ...],
        config: EnergyConfig,
    ) -> EnergyMeasurement | Failure:
        if found.gross_j is None:
            return self._failure(artifact, candidate.stage, found.gross_refused or "")
        trials = tuple(candidate.trials)
        return EnergyMeasurement(
            target=self.spec.name,
            model_sha256=artifact.model_sha256,
            artifact_sha256=artifact.sha256,
            gross_j=found.gross_j,
            net_j=found.net_j,
            net_refused=found.net_refused,
            idle_power_w=typical(trials, lambda t: t.idle_power_w),
            active_power_w=typical(trials, lambda t: t.active_power_w),
            peak_power_w=max(t.peak_power_w for t in trials),
            peak_bandwidth_hz=min(info.bandwidth_hz for info in infos),
            trials=trials,
            sustained=tuple(candidate.sustained),
            meters=infos,
            config=config,
            provenance=self.spec.provenance,
            device_state=state,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _failure(self, artifact: Artifact, stage: FailureStage, reason: str) -> Failure:
        return Failure(self.spec.name, stage, reason, artifact.model_sha256)


class MeteredDevice:
    """A loaded artifact and the meters around it: see `targets.energy_protocol.Device`."""

    def __init__(
        self, loaded: LoadedModel, artifact: Artifact, meters: MeterSet, pin: Pin, spec: TargetSpec
    ) -> None:
        self._loaded, self._meters, self._pin, self._spec = loaded, meters, pin, spec
        rng = np.random.default_rng(_SEED)
        self._inputs: list[NDArray[np.float32]] = [
            rng.standard_normal(shape, dtype=np.float32) for shape in artifact.input_shapes
        ]
        self._before = changing_state(loaded.files)
        self.after: State = {}

    def probe(self) -> tuple[float, ...]:
        """Return the times of single inferences."""
        return self._loaded.time(self._inputs, _PROBES)

    def start_meters(self) -> None:
        """Record from now on."""
        self._meters.start()

    def stop_meters(self) -> list[PowerTrace]:
        """Return what was recorded."""
        return self._meters.stop()

    def idle(self, seconds: float) -> Span:
        """Do nothing for a while."""
        start = time.monotonic()
        time.sleep(seconds)
        return Span(start, time.monotonic())

    def run(self, n_per_block: int, n_blocks: int) -> Loop:
        """Run inferences.

        Only the answer travels after the last of them, while the inputs travel before
        the first: the loop is taken to end when the answer came.
        """
        self._mark("1")
        latency_s = self._loaded.loop(self._inputs, n_per_block, n_blocks)
        end = time.monotonic()
        self._mark("0")
        return Loop(Span(end - n_per_block * sum(latency_s), end), latency_s, n_per_block)

    def _mark(self, level: str) -> None:
        """Raise or lower the pin that a marker input of the meters is wired to."""
        path = self._spec.marker_file
        if path is None:
            return
        try:
            self._loaded.files.write(path, level)
        except OSError as error:
            raise MeterError(
                f"marker_file: {path} cannot be written ({error.strerror or error})",
                "export the pin, and let the server's user write to it",
            ) from None

    def throttled(self) -> bool:
        """Whether its clock fell meanwhile, or its firmware says so."""
        self.after = changing_state(self._loaded.files)
        found = flags((), self._pin, self._before, self.after, self._spec.threads)
        return "throttled" in found


def _stage(error: Exception) -> FailureStage:
    if isinstance(error, DeviceLostError | DeviceRefusedError):
        return error.stage
    return "timeout" if isinstance(error, TimeoutError) else "meter"


def _reason(error: Exception) -> str:
    fix = getattr(error, "fix", "")
    return f"{last_line(error)}. {fix}" if fix else last_line(error)
