"""A device whose costs are formulas of the operators in the ONNX graph it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from latency_predictors import Graph
from latency_predictors.testing import linear_latency_s
from search_spaces import n_params, peak_activation_bytes, workloads_from_onnx
from targets import (
    Artifact,
    EnergyConfig,
    EnergyMeasurement,
    EnergyModel,
    EnergyObserver,
    Failure,
    Interval,
    MeasureConfig,
    Measurement,
    Provenance,
    TargetSpec,
)
from targets.spec import MeterSpec

QUICK = MeasureConfig(warmup_s=0.0, min_samples=3, max_samples=3, min_time_s=0.0)


class FormulaTarget:
    """A device whose costs are formulas of the operators in the ONNX graph it is given.

    Args:
        latency_s: Latency of a graph.
        refuses: Which graphs its compiler cannot do.
        provenance: Of its measurements.
        disturbs: In which graphs it drifts.
        meters: Its power meters.
    """

    def __init__(
        self,
        latency_s: Callable[[Graph], float] = lambda graph: float(linear_latency_s([graph])[0]),
        refuses: Callable[[Graph], bool] = lambda graph: False,
        provenance: Provenance = "measured",
        disturbs: Callable[[Graph], bool] = lambda graph: False,
        meters: Sequence[MeterSpec] = (),
    ) -> None:
        self.energy_configs: set[EnergyConfig] = set()
        self._disturbs = disturbs
        self._provenance = provenance
        self._latency_s = latency_s
        self._refuses = refuses
        self._graphs: dict[str, Graph] = {}
        energy = EnergyModel(
            static_power_w=1.0,
            energy_per_mac_j=0.0,
            energy_per_byte_j=0.0,
            relative_uncertainty=0.5,
            source="made up",
        )
        self.spec = TargetSpec(
            name="formula",
            description="A formula",
            backend="formula",
            energy_model=energy,
            meters=tuple(meters),
        )
        self.name = self.spec.name
        self.fingerprint = self.spec.fingerprint

    def compile(self, model: onnx.ModelProto) -> Artifact | Failure:
        content = model.SerializeToString()
        sha256 = hashlib.sha256(content).hexdigest()
        graph = workloads_from_onnx(model)
        if self._refuses(graph):
            return Failure(self.name, "compile", "the formula has no kernel of 7", sha256)
        self._graphs[sha256] = graph
        return Artifact(
            target=self.name,
            path=Path("nowhere"),
            sha256=sha256,
            model_sha256=sha256,
            flash_bytes=flash_bytes(graph),
            peak_ram_bytes=peak_activation_bytes(graph),
            compile_s=0.0,
            parity_max_abs_error=0.0,
            input_shapes=(),
        )

    def measure(
        self, artifact: Artifact, config: MeasureConfig = QUICK, *, fresh: bool = False
    ) -> Measurement | Failure:
        graph = self._graphs[artifact.sha256]
        latency_s = self._latency_s(graph)
        return Measurement(
            target=self.name,
            model_sha256=artifact.model_sha256,
            artifact_sha256=artifact.sha256,
            latency_s=(0.9 * latency_s, latency_s, 1.3 * latency_s),
            flash_bytes=artifact.flash_bytes,
            peak_ram_bytes=artifact.peak_ram_bytes,
            config=config,
            provenance=self._provenance,
            flags=("clock_unpinned", "drifting") if self._disturbs(graph) else ("clock_unpinned",),
        )

    def measure_energy(
        self,
        artifacts: Sequence[Artifact],
        config: EnergyConfig = EnergyConfig(),
        *,
        fresh: bool = False,
        observer: EnergyObserver | None = None,
    ) -> list[EnergyMeasurement | Failure]:
        """Every inference takes 3 W while it lasts, and 1 W of that also when idle."""
        self.energy_configs.add(config)
        latency_s = [self._latency_s(self._graphs[a.sha256]) for a in artifacts]
        powers = [Interval(w, 0.9 * w, 1.1 * w) for w in (1.0, 3.0)]
        return [
            EnergyMeasurement(
                target=self.name,
                model_sha256=artifact.model_sha256,
                artifact_sha256=artifact.sha256,
                gross_j=Interval(3 * t, 2.9 * t, 3.1 * t),
                net_j=Interval(2 * t, 1.9 * t, 2.1 * t),
                net_refused=None,
                idle_power_w=powers[0],
                active_power_w=powers[1],
                peak_power_w=4.0,
                peak_bandwidth_hz=1e3,
                trials=(),
                sustained=(),
                meters=(),
                config=config,
                provenance=self._provenance,
            )
            for artifact, t in zip(artifacts, latency_s, strict=True)
        ]

    def run(
        self, artifact: Artifact, inputs: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], ...] | Failure:
        return Failure(self.name, "run", "a formula computes no outputs", artifact.model_sha256)

    def close(self) -> None:
        self._graphs.clear()

    def __enter__(self) -> FormulaTarget:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def flash_bytes(graph: Graph) -> int:
    return 2000 + sum(100 + 4 * n_params(w) for w in graph)
