"""What a finished search writes: front, CSV, refitted predictors, and the story behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.finalists import FRONT_PHASE
from hwnas.front import ParetoFront, to_csv
from hwnas.pareto import ObjectiveScale
from hwnas.predictor_store import CALIBRATION_PHASE, PREDICTOR_FILE, RECORDS_FILE
from hwnas.run_folder import SCHEMA_VERSION
from hwnas.search_context import SearchContext
from hwnas.selection_bias import validation_optimism
from hwnas.stopping import HypervolumeHistory
from hwnas.study import Evaluated
from latency_predictors import MeasuredArchitecture, agreement, fit_predictors
from latency_predictors.records import MeasurementRecords
from latency_predictors.target_predictors import TargetPredictors
from targets import write_atomically


def write_results(context: SearchContext, front: ParetoFront, predictor_folder: Path) -> None:
    """Write ``front.json`` and ``front.csv``, and refit the target's predictors.

    Args:
        context: The finished search.
        front: Its measured front.
        predictor_folder: Where refitted predictors go, for the next search.
    """
    evaluated = context.study.evaluated()
    validation, test = context.dataset.validation, context.dataset.test
    optimism = validation_optimism(front.candidates, len(validation.y), len(test.y))
    _refit(context, predictor_folder)
    own = TargetPredictors.load(context.run.path / PREDICTOR_FILE)
    document = {
        "schema_version": SCHEMA_VERSION,
        "run": context.config.name,
        "target": context.target.name,
        **front.to_dict(),
        "constraints": [asdict(c) for c in context.constraints],
        "calibration": own.report,
        "front_prediction": front_prediction(front),
        "test_split": {
            "samples": len(test.y),
            "groups": None if test.groups is None else len(np.unique(test.groups)),
        },
        "validation_optimism": optimism and optimism.to_dict(),
        "counts": context.study.counts(),
        "evaluations": [_evaluation(e, front) for e in evaluated],
        "hypervolume_history": hypervolume_history(context.scale, evaluated),
    }
    context.run.write_json(context.run.front_json, document)
    write_atomically(context.run.front_csv, to_csv(front.candidates).encode())


def hypervolume_history(scale: ObjectiveScale, evaluated: Sequence[Evaluated]) -> list[float]:
    """Return the hypervolume after each evaluation, by predicted costs and all exit policies."""
    history = HypervolumeHistory(scale)
    for item in evaluated:
        history.add([values for values in item.points if values is not None])
    return history.volumes


def front_prediction(front: ParetoFront) -> dict[str, Any] | None:
    """Return how well the latency of measured candidates was predicted, or ``None`` below 2."""
    pairs = [
        (metric.value, metric.predicted)
        for c in front.candidates
        if (metric := c.metrics["worst_latency_s"]).predicted is not None
    ]
    if len(pairs) < 2:
        return None
    measured, predicted = np.array(pairs, dtype=np.float64).T
    return asdict(agreement(measured, predicted))


def _evaluation(evaluated: Evaluated, front: ParetoFront) -> dict[str, Any]:
    return {
        "number": evaluated.number,
        "arch_id": evaluated.architecture.arch_id,
        "architecture": evaluated.architecture.to_dict(),
        "values": dict(zip((o.metric for o in front.objectives), evaluated.values, strict=True)),
        "exit_shares": evaluated.result["validation"]["exit_shares"],
        "epochs": evaluated.result["epochs"],
        "seconds": evaluated.result["seconds"],
    }


def _refit(context: SearchContext, folder: Path) -> None:
    """Add the front's measurements to the target's records and fit its predictors anew."""
    new = MeasurementRecords(context.run.measurements).measured(context.space, FRONT_PHASE)
    shared = MeasurementRecords(folder / RECORDS_FILE)
    known = {_identity(m) for m in shared.measured(context.space)}
    for item in new:
        if _identity(item) not in known:
            shared.append(CALIBRATION_PHASE, item.architecture, item.measurements)
    predictors = fit_predictors(context.target.spec, shared.measured(context.space))
    predictors.report = TargetPredictors.load(folder / PREDICTOR_FILE).report
    predictors.save(folder / PREDICTOR_FILE)


def _identity(measured: MeasuredArchitecture) -> tuple[str, str]:
    return measured.architecture.arch_id, measured.measurements[0].measured_at
