"""Measures architectures by a law of their workloads, without building them: quick and exact."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from latency_predictors import MeasuredArchitecture
from latency_predictors.testing import linear_latency_s
from search_spaces import Architecture, SearchSpace
from targets import Failure, Measurement, Target
from tests.unit.latency_predictors.formula_target import QUICK


class LawDevice:
    """Takes the place of `measure_architecture`.

    Args:
        noise_std: Standard deviation of the log latency; what the n-th measurement of an
            architecture shows is the same in every process.
        dies_after: Measurements after which nothing answers any more.
    """

    def __init__(self, noise_std: float = 0.0, dies_after: int | None = None) -> None:
        self.asked: list[str] = []
        self._noise_std, self._dies_after = noise_std, dies_after
        self._repeats: Counter[str] = Counter()

    def __call__(
        self,
        target: Target,
        space: SearchSpace,
        arch: Architecture,
        *,
        fresh: bool = False,
        **unused: Any,
    ) -> MeasuredArchitecture | Failure:
        if self._dies_after is not None and len(self.asked) >= self._dies_after:
            return Failure(target.name, "connect", "no route to host", "")
        self.asked.append(arch.arch_id)
        self._repeats[arch.arch_id] += fresh
        key = f"{arch.arch_id} {self._repeats[arch.arch_id]}"
        rng = np.random.default_rng(list(hashlib.sha256(key.encode()).digest()))
        factor = float(np.exp(self._noise_std * rng.standard_normal()))
        graphs = tuple(stage.workloads for stage in space.stages(arch))
        measurements = tuple(
            Measurement(
                target=target.name,
                model_sha256=arch.arch_id,
                artifact_sha256=arch.arch_id,
                latency_s=(float(linear_latency_s([graph])[0]) * factor,),
                flash_bytes=1000,
                peak_ram_bytes=1000,
                config=QUICK,
                provenance="measured",
                measured_at="2026-01-31T12:00:00+00:00",
            )
            for graph in graphs
        )
        return MeasuredArchitecture(arch, graphs, measurements)
