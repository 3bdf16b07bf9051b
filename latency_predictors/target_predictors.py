"""All learned costs of one target and space: predict architectures, save, load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from latency_predictors._types import Graph, Prediction, Predictions
from latency_predictors.conformal import CONFIDENCE
from latency_predictors.energy_predictor import EnergyPredictor
from latency_predictors.observed import Observed, observed_graphs
from latency_predictors.prior_residual import PriorResidualPredictor
from targets import Provenance, write_atomically

SCHEMA_VERSION = 3
METRICS = ("latency_s", "energy_j", "flash_bytes", "peak_ram_bytes")


@dataclass(frozen=True)
class PredictedCosts:
    """Predicted costs of one architecture.

    Args:
        stage_latency_s: One prediction per stage, in execution order.
        stage_energy_j: Gross energy of an inference, likewise; its interval holds what the
            predictor does not know, not what the energies it learned from did not.
        latency_s: Of the whole path through every stage (the worst case).
        energy_j: Likewise.
        flash_bytes: Sum over stages.
        peak_ram_bytes: Largest over stages.
        idle_energy_j: What of the energy the device draws anyway, as long as the path takes;
            ``None`` where no meter measured its idle power.
    """

    stage_latency_s: tuple[Prediction, ...]
    stage_energy_j: tuple[Prediction, ...]
    latency_s: Prediction
    energy_j: Prediction
    flash_bytes: Prediction
    peak_ram_bytes: Prediction
    idle_energy_j: float | None = None

    @property
    def net_energy_j(self) -> float | None:
        """Energy above idle, of the whole path."""
        return None if self.idle_energy_j is None else self.energy_j.mean - self.idle_energy_j


class TargetPredictors:
    """The fitted predictors of one target on one search space.

    Args:
        target: Name of the target they were calibrated on.
        predictors: One per entry of `METRICS` but the energy.
        energy: Fitted to the same measurements as ``predictors["latency_s"]``.
        energy_provenance: Of the energies that were learned: ``measured``, or ``modelled``.
        report: JSON-ready calibration report (held-out agreement, counts).
        idle_power_w: Of the device, where a meter measured it.
    """

    def __init__(
        self,
        target: str,
        predictors: Mapping[str, PriorResidualPredictor],
        energy: EnergyPredictor,
        energy_provenance: Provenance,
        report: Mapping[str, Any],
        idle_power_w: float | None = None,
    ) -> None:
        self.target = target
        self.energy_provenance: Provenance = energy_provenance
        self.predictors: dict[str, PriorResidualPredictor | EnergyPredictor] = {
            **predictors,
            "energy_j": energy,
        }
        self.idle_power_w = idle_power_w
        self.report = dict(report)

    @property
    def clocked(self) -> bool:
        """Whether it was fitted to several clocks, so that predicting needs one."""
        return any(predictor.clocked for predictor in self.predictors.values())

    def predict(
        self, architectures: Sequence[Sequence[Graph]], relative_clock: float | None = None
    ) -> list[PredictedCosts]:
        """Predict the costs of architectures, each given as the graphs of its stages.

        Args:
            architectures: What to predict.
            relative_clock: Clock of the device, relative to its highest, where the
                predictors were fitted to several.

        Raises:
            UnknownWorkloadError: If a graph holds an operator not calibrated.
            ValueError: If the clock is missing, or the predictors know none.
        """
        flat = [graph for stages in architectures for graph in stages]
        if relative_clock is not None and not self.clocked:
            raise ValueError(f"{self.target}: fitted to one clock, got {relative_clock:g}")
        if not flat:
            return []
        clocks = None if relative_clock is None else [relative_clock] * len(flat)
        by_metric = {
            name: predictions.to_list()
            for name, predictions in self.predict_stages(observed_graphs(flat, clocks)).items()
        }
        costs, start = [], 0
        for stages in architectures:
            part = slice(start, start + len(stages))
            start += len(stages)
            costs.append(self._costs(*(tuple(by_metric[metric][part]) for metric in METRICS)))
        return costs

    def predict_stages(self, observed: Observed) -> dict[str, Predictions]:
        """Predict every entry of `METRICS` for n stages at once.

        Args:
            observed: What is known of each stage.
        """
        unclocked = replace(observed, relative_clocks=None)
        return {
            name: predictor.predict_observed(observed if predictor.clocked else unclocked)
            for name, predictor in ((name, self.predictors[name]) for name in METRICS)
        }

    def _costs(
        self,
        latency: tuple[Prediction, ...],
        energy: tuple[Prediction, ...],
        flash: tuple[Prediction, ...],
        ram: tuple[Prediction, ...],
    ) -> PredictedCosts:
        path = total(latency)
        idle_j = None if self.idle_power_w is None else self.idle_power_w * path.mean
        return PredictedCosts(
            latency, energy, path, total(energy), total(flash), largest(ram), idle_j
        )

    def save(self, path: Path) -> None:
        """Write one JSON file, atomically."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "target": self.target,
            "confidence": CONFIDENCE,
            "energy_provenance": self.energy_provenance,
            "idle_power_w": self.idle_power_w,
            "report": self.report,
            "predictors": {name: p.to_dict() for name, p in self.predictors.items()},
        }
        write_atomically(path, json.dumps(document, indent=1, allow_nan=False).encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read predictors written by `save`.

        Raises:
            ValueError: If the file is missing, damaged, or of another schema version.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            version = document["schema_version"]
        except FileNotFoundError:
            raise ValueError(
                f"{path}: no such predictor. Run: hwnas calibrate TARGET --space SPACE"
            ) from None
        except _DAMAGE as error:
            raise _damaged(path, error) from None
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{path}: schema_version {version}, this hwnas reads {SCHEMA_VERSION}. "
                "Calibrate again."
            )
        try:
            states = document["predictors"]
            learned = (name for name in METRICS if name != "energy_j")
            predictors = {name: _predictor(name, states[name]) for name in learned}
            energy = EnergyPredictor.from_dict(states["energy_j"], predictors["latency_s"])
            idle_power_w = document["idle_power_w"]
            energies = document["energy_provenance"]
            if energies not in ("measured", "modelled"):
                raise ValueError(f"energy_provenance: {energies!r}")
            return cls(
                document["target"],
                predictors,
                energy,
                energies,
                document["report"],
                None if idle_power_w is None else float(idle_power_w),
            )
        except _DAMAGE as error:
            raise _damaged(path, error) from None


_DAMAGE = (KeyError, TypeError, AttributeError, ValueError, OSError, RecursionError)


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"{path}: damaged predictor ({reason}). Calibrate again.")


def _predictor(metric: str, state: Mapping[str, Any]) -> PriorResidualPredictor:
    if state["metric"] != metric:
        raise ValueError(f"predictors.{metric}: holds {state['metric']!r}")
    return PriorResidualPredictor.from_dict(state)


def total(parts: Sequence[Prediction]) -> Prediction:
    """Add predictions whose errors are taken as fully correlated (the cautious case)."""
    return Prediction(
        mean=sum(p.mean for p in parts),
        std=sum(p.std for p in parts),
        low=sum(p.low for p in parts),
        high=sum(p.high for p in parts),
        in_domain=all(p.in_domain for p in parts),
    )


def largest(parts: Sequence[Prediction]) -> Prediction:
    """Return the maximum of predictions; its interval is that of the maximum's bounds."""
    least_certain = max(parts, key=lambda p: p.high)
    return Prediction(
        mean=max(p.mean for p in parts),
        std=least_certain.std,
        low=max(p.low for p in parts),
        high=least_certain.high,
        in_domain=all(p.in_domain for p in parts),
    )
