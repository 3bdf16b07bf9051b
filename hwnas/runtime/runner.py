"""Run a bundle: choose the operating point, infer stage by stage, tell who wants to know."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.bundle import open_bundle
from hwnas.runtime.answer import Answer, Observer
from hwnas.runtime.fallback import LowConfidenceFallback
from hwnas.runtime.governor import Governor, Meter
from hwnas.runtime.operating_points import points_of, policy_of
from hwnas.runtime.signals import UNKNOWN, DeviceState, EventMonitor
from hwnas.runtime.staged_network import StagedNetwork


class Runtime:
    """A bundle in use.

    All networks are loaded at once, so that a change of the operating point costs no more
    than a look-up; operating points of one network share it. Not for several threads at once.

    Args:
        bundle: Its folder.
        policy: Scaling policy to use instead of the bundle's own.
        meter: Returns the joules the device has taken, for the policy's energy budget; the
            operating points' energies are counted where there is none.
        fallback: Asked where answers stay doubtful.
        clock: Seconds that never go back.

    Attributes:
        observers: Told of every answer and change of the operating point. One that sets the
            device's clock finds it in ``operating_points``.
        operating_points: By name, with their metrics.
        governor: Which operating point is in use.

    Raises:
        UserError: If anything in the bundle or the policy is wrong; nothing is loaded then.
    """

    def __init__(
        self,
        bundle: Path,
        *,
        policy: Path | None = None,
        meter: Meter | None = None,
        fallback: LowConfidenceFallback | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        manifest = open_bundle(bundle)
        self.operating_points = points_of(bundle, manifest)
        rules = policy_of(bundle, manifest, self.operating_points, policy)
        networks = {
            name: StagedNetwork.load(bundle, network) for name, network in manifest.networks.items()
        }
        self._modes = {
            name: (networks[point.network], point.exit_policy.policy)
            for name, point in manifest.operating_points.items()
        }
        self._class_names = manifest.class_names
        self._shape = manifest.input.shape
        self._quiet_class = rules.quiet_class
        self.observers: list[Observer] = []
        self._fallback = fallback
        self._clock = clock
        self._monitor = EventMonitor()
        energies_j = {name: point.energy_j for name, point in self.operating_points.items()}
        self.governor = Governor(rules, energies_j, start_s=clock(), meter=meter)

    def infer(self, x: ArrayLike, device: DeviceState = UNKNOWN) -> Answer:
        """Answer one input at the operating point that the policy wants now.

        Args:
            x: One sample as the bundle's preprocessing makes it, with or without batch axis.
            device: As it is now; rules on what it does not know do not hold.

        Raises:
            ValueError: If the shape is not the bundle's, or a value is no finite number.
        """
        sample = self._sample(x)
        mode = self.decide(device)
        network, policy = self._modes[mode]
        started_s = time.perf_counter()
        found = network.infer(sample, policy)
        latency_s = time.perf_counter() - started_s
        point = self.operating_points[mode]
        answer = Answer(
            found.class_index,
            self._class_names[found.class_index],
            found.confidence,
            found.exit_index,
            mode,
            latency_s,
            point.energy_j,
            point.energy_provenance,
        )
        self.governor.spend(point.energy_j)
        if self._fallback is not None:
            is_last = found.exit_index == len(policy.thresholds)
            answer = self._fallback.consider(sample, answer, is_last_exit=is_last)
        now_s = self._clock()
        # what the device itself was unsure of stays so, whoever answered in the end
        self._monitor.answered(
            now_s, float(answer.class_name != self._quiet_class), found.confidence
        )
        for observer in self.observers:
            observer.answered(now_s, answer)
        return answer

    def decide(self, device: DeviceState = UNKNOWN) -> str:
        """Return the operating point for now; to be called where nothing is to infer.

        Args:
            device: As it is now.
        """
        now_s = self._clock()
        change = self.governor.decide(now_s, self._monitor.signals(now_s, device))
        if change is not None:
            for observer in self.observers:
                observer.mode_changed(change)
        return self.governor.mode

    def _sample(self, x: ArrayLike) -> NDArray[np.float32]:
        sample = np.ascontiguousarray(x, dtype=np.float32)
        if sample.shape == self._shape[1:]:
            sample = sample[np.newaxis]
        if sample.shape != self._shape:
            raise ValueError(
                f"x: wanted shape {self._shape}, or {self._shape[1:]}. Got {sample.shape}."
            )
        if not np.isfinite(sample).all():
            raise ValueError("x: wanted finite numbers. Got NaN or infinity: check the sensor.")
        return sample
