"""Predict the costs of an architecture or an ONNX model on a calibrated target."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import UserError
from hwnas.measuring import read_onnx
from hwnas.predictor_store import SpaceDescription, load_predictors, stored_predictors
from hwnas.target_checking import show_target
from latency_predictors import (
    EnergyRange,
    PredictedCosts,
    UnknownWorkloadError,
    learned_energy,
)
from latency_predictors._types import Graph
from search_spaces import Architecture
from targets import EnergyModel, Provenance


@dataclass(frozen=True)
class PredictedModel:
    """Predicted costs of one model; nothing here was measured.

    Args:
        target: Name of the target.
        predictor: Folder of the predictors used.
        costs: Latency (whole path and per stage), flash, peak RAM.
        energy: Gross, of the whole path.
        stage_energy: Gross, of each stage: up to an exit from the one before it.
        energy_provenance: ``predicted`` from what meters measured, or ``modelled``.
    """

    target: str
    predictor: Path
    costs: PredictedCosts
    energy: EnergyRange
    stage_energy: tuple[EnergyRange, ...]
    energy_provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form with provenance on every number."""
        costs = self.costs
        return {
            "target": self.target,
            "predictor": str(self.predictor),
            "latency_s": asdict(costs.latency_s) | {"provenance": "predicted"},
            "stage_latency_s": [
                asdict(p) | {"provenance": "predicted"} for p in costs.stage_latency_s
            ],
            "flash_bytes": asdict(costs.flash_bytes) | {"provenance": "predicted"},
            "peak_ram_bytes": asdict(costs.peak_ram_bytes) | {"provenance": "predicted"},
            "energy_j": asdict(self.energy)
            | {
                "provenance": self.energy_provenance,
                "boundary": "inference_gross",
                "idle_j": costs.idle_energy_j,
                "net_j": costs.net_energy_j,
            },
            "stage_energy_j": [
                asdict(energy) | {"provenance": self.energy_provenance}
                for energy in self.stage_energy
            ],
        }


def predict(
    target: str,
    *,
    arch: str | None = None,
    onnx: Path | None = None,
    predictors: Path = Path("predictors"),
) -> PredictedModel:
    """Predict the costs of one architecture or model.

    Args:
        target: Name of a calibrated target.
        arch: JSON of an architecture, as in ``front.json``, or a path to it.
        onnx: Path of an ONNX model.
        predictors: Folder of all predictors.

    Raises:
        UserError: If the input is wrong, the target was not calibrated, or the
            model holds an operator that no calibration contained.
    """
    if (arch is None) == (onnx is None):
        raise UserError("predict: wanted one of --arch JSON and --onnx FILE")
    spec = show_target(target)
    folders = stored_predictors(predictors, spec.name)
    if arch is not None:
        return _predict_architecture(arch, folders, spec.name, spec.energy_model)
    assert onnx is not None
    return _predict_onnx(onnx, folders, spec.name, spec.energy_model)


def _predict_architecture(
    text: str, folders: list[Path], target: str, energy_model: EnergyModel
) -> PredictedModel:
    try:
        if not text.lstrip().startswith("{"):
            text = Path(text).read_text(encoding="utf-8")
        arch = Architecture.from_dict(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'--arch: wanted JSON such as {{"space": "early_exit", "choices": {{...}}}} ({error})'
        ) from None
    reasons = []
    for folder in folders:
        space = SpaceDescription.load(folder).create()
        if space.name != arch.space:
            continue
        try:
            canonical = space.canonicalize(dict(arch.choices))
        except ValueError as error:
            reasons.append(f"{folder.name}: {error}")
            continue
        graphs = tuple(stage.workloads for stage in space.stages(canonical))
        return _predicted(folder, graphs, target, energy_model)
    why = "; ".join(reasons) or f"none of {len(folders)} is of space {arch.space!r}"
    raise UserError(f"--arch: no predictor of {target!r} fits this architecture ({why})")


def _predict_onnx(
    path: Path, folders: list[Path], target: str, energy_model: EnergyModel
) -> PredictedModel:
    from search_spaces import UnknownOperatorError, workloads_from_onnx

    try:
        graph = workloads_from_onnx(read_onnx(path))
    except UnknownOperatorError as error:
        raise UserError(f"{path}: {error.args[0]} Measure it: hwnas measure {target}") from None
    reasons = []
    for folder in folders:
        try:
            return _predicted(folder, (graph,), target, energy_model)
        except UnknownWorkloadError as error:
            reasons.append(f"{folder.name}: {error.args[0]}")
    raise UserError(f"{path}: {'; '.join(reasons)}")


def _predicted(
    folder: Path, graphs: tuple[Graph, ...], target: str, energy_model: EnergyModel
) -> PredictedModel:
    predictors = load_predictors(folder)
    assert predictors is not None, "stored_predictors lists only folders that hold one"
    (costs,) = predictors.predict([graphs])
    learned = predictors.energy_provenance
    energy, *stages = (
        learned_energy(prediction, learned, energy_model)
        for prediction in (costs.energy_j, *costs.stage_energy_j)
    )
    provenance: Provenance = "modelled" if learned == "modelled" else "predicted"
    return PredictedModel(target, folder, costs, energy, tuple(stages), provenance)
