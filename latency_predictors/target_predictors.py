"""All learned costs of one target and space: predict architectures, save, load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import Graph, Prediction, Predictions
from latency_predictors.conformal import CONFIDENCE
from latency_predictors.energy_predictor import EnergyPredictor
from latency_predictors.observed import Observed, observed_features, observed_graphs
from latency_predictors.path_costs import joined, of_paths
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.space_features import SpaceFeatures
from latency_predictors.tail import TailRatio
from latency_predictors.transfer import KIND, CostModel, TransferPredictor
from targets import Provenance, write_atomically

if TYPE_CHECKING:
    from search_spaces.encoding import Encodings

SCHEMA_VERSION = 3
METRICS = ("latency_s", "energy_j", "flash_bytes", "peak_ram_bytes")
# architectures predicted at once: more take more memory and no less time each
_ROWS = 8192


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
        tail: How far P99 lies above the median latency, where enough inferences were timed.
    """

    def __init__(
        self,
        target: str,
        predictors: Mapping[str, CostModel],
        energy: EnergyPredictor,
        energy_provenance: Provenance,
        report: Mapping[str, Any],
        idle_power_w: float | None = None,
        tail: TailRatio | None = None,
    ) -> None:
        self.target = target
        self.energy_provenance: Provenance = energy_provenance
        self.predictors: dict[str, CostModel | EnergyPredictor] = {
            **predictors,
            "energy_j": energy,
        }
        self._energy = energy
        self.idle_power_w = idle_power_w
        self.tail = tail
        self.report = dict(report)

    @property
    def clocked(self) -> bool:
        """Whether it was fitted to several clocks, so that predicting needs one."""
        return any(predictor.clocked for predictor in self.predictors.values())

    def cost_model(self, metric: str) -> PriorResidualPredictor:
        """Return what learned a metric other than energy, for other targets to start from.

        Raises:
            ValueError: If it itself started from other targets.
        """
        model = self.predictors[metric]
        if not isinstance(model, PriorResidualPredictor):
            raise ValueError(f"{self.target}: its {metric} started from other targets itself")
        return model

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
        self._check_clock(relative_clock)
        if not flat:
            return []
        clocks = None if relative_clock is None else [relative_clock] * len(flat)
        stages = self.predict_stages(observed_graphs(flat, clocks))
        ends = np.cumsum([len(graphs) for graphs in architectures])
        first = np.array([0, *ends[:-1]])
        latency, energy = (stages[name].to_list() for name in ("latency_s", "energy_j"))
        paths = (of_paths(name, stages[name], first).to_list() for name in METRICS)
        return [
            self._costs(tuple(latency[start:end]), tuple(energy[start:end]), *path)
            for start, end, *path in zip(first, ends, *paths, strict=True)
        ]

    def predict_encodings(
        self,
        features: SpaceFeatures,
        encodings: Encodings,
        relative_clock: float | None = None,
        metrics: Sequence[str] = METRICS,
    ) -> dict[str, Predictions]:
        """Predict the costs of the whole paths of many architectures: as `predict`, but arrays.

        Args:
            features: Of the space; what it has learned of it makes the next call faster.
            encodings: Shape ``(n, d)``: see `search_spaces.encoding.encode`.
            relative_clock: As for `predict`.
            metrics: Which of `METRICS`.

        Returns:
            Predictions of n architectures per metric.

        Raises:
            UnknownWorkloadError: If an architecture holds an operator not calibrated.
            ValueError: If the clock is missing, the predictors know none, or an encoding is
                none of the space.
        """
        stages, first = self.predict_encoded_stages(features, encodings, relative_clock, metrics)
        return {name: of_paths(name, predictions, first) for name, predictions in stages.items()}

    def predict_encoded_stages(
        self,
        features: SpaceFeatures,
        encodings: Encodings,
        relative_clock: float | None = None,
        metrics: Sequence[str] = METRICS,
    ) -> tuple[dict[str, Predictions], NDArray[np.intp]]:
        """Predict the costs of every stage of many architectures.

        Args:
            features: As for `predict_encodings`.
            encodings: Shape ``(n, d)``, likewise.
            relative_clock: As for `predict`.
            metrics: Which of `METRICS`.

        Returns:
            Per metric, predictions of m stages in the order of the architectures and of
            execution; and shape ``(n,)``: where the stages of each architecture begin.

        Raises:
            UnknownWorkloadError, ValueError: As `predict_encodings`.
        """
        self._check_clock(relative_clock)
        parts: dict[str, list[Predictions]] = {name: [] for name in metrics}
        n_stages = []
        for start in range(0, max(len(encodings), 1), _ROWS):
            chunk = encodings[start : start + _ROWS]
            graphs, owners = features.of(chunk)
            clocks = None if relative_clock is None else [relative_clock] * len(graphs)
            stages = self.predict_stages(observed_features(graphs, clocks), metrics)
            for name, predictions in stages.items():
                parts[name].append(predictions)
            n_stages.append(np.bincount(owners, minlength=len(chunk)))
        ends = np.cumsum(np.concatenate(n_stages))
        first = np.concatenate([np.zeros(1, dtype=np.intp), ends[:-1]])[: len(encodings)]
        return {name: joined(of_metric) for name, of_metric in parts.items()}, first

    def predict_stages(
        self, observed: Observed, metrics: Sequence[str] = METRICS
    ) -> dict[str, Predictions]:
        """Predict metrics for n stages at once.

        Args:
            observed: What is known of each stage.
            metrics: Which of `METRICS`.
        """
        unclocked = replace(observed, relative_clocks=None)
        found: dict[str, Predictions] = {}
        if {"latency_s", "energy_j"} <= set(metrics):
            seen = observed if self._energy.clocked else unclocked
            found["latency_s"], found["energy_j"] = self._energy.predict_with_latency(seen)
        for name in metrics:
            if name not in found:
                predictor = self.predictors[name]
                seen = observed if predictor.clocked else unclocked
                found[name] = predictor.predict_observed(seen)
        return {name: found[name] for name in metrics}

    def _check_clock(self, relative_clock: float | None) -> None:
        if relative_clock is not None and not self.clocked:
            raise ValueError(f"{self.target}: fitted to one clock, got {relative_clock:g}")

    def _costs(
        self,
        stage_latency_s: tuple[Prediction, ...],
        stage_energy_j: tuple[Prediction, ...],
        latency: Prediction,
        energy: Prediction,
        flash: Prediction,
        ram: Prediction,
    ) -> PredictedCosts:
        idle_j = None if self.idle_power_w is None else self.idle_power_w * latency.mean
        return PredictedCosts(stage_latency_s, stage_energy_j, latency, energy, flash, ram, idle_j)

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted state, JSON-ready, for `from_dict`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "target": self.target,
            "confidence": CONFIDENCE,
            "energy_provenance": self.energy_provenance,
            "idle_power_w": self.idle_power_w,
            "tail": None if self.tail is None else self.tail.to_dict(),
            "report": self.report,
            "predictors": {name: p.to_dict() for name, p in self.predictors.items()},
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild predictors that predict exactly as those `to_dict` was taken from.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        states = document["predictors"]
        learned = (name for name in METRICS if name != "energy_j")
        predictors = {name: _predictor(name, states[name]) for name in learned}
        energy = EnergyPredictor.from_dict(states["energy_j"], predictors["latency_s"])
        idle_power_w = document["idle_power_w"]
        energies = document["energy_provenance"]
        # files written before P99 was learned have none
        tail = document.get("tail")
        if energies not in ("measured", "modelled"):
            raise ValueError(f"energy_provenance: {energies!r}")
        return cls(
            document["target"],
            predictors,
            energy,
            energies,
            document["report"],
            None if idle_power_w is None else float(idle_power_w),
            None if tail is None else TailRatio.from_dict(tail),
        )

    def save(self, path: Path) -> None:
        """Write one JSON file, atomically."""
        write_atomically(path, json.dumps(self.to_dict(), indent=1, allow_nan=False).encode())

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
            return cls.from_dict(document)
        except _DAMAGE as error:
            raise _damaged(path, error) from None


_DAMAGE = (KeyError, TypeError, AttributeError, ValueError, OSError, RecursionError)


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"{path}: damaged predictor ({reason}). Calibrate again.")


def _predictor(metric: str, state: Mapping[str, Any]) -> CostModel:
    if state["metric"] != metric:
        raise ValueError(f"predictors.{metric}: holds {state['metric']!r}")
    if state.get("kind") == KIND:
        return TransferPredictor.from_dict(state)
    return PriorResidualPredictor.from_dict(state)
