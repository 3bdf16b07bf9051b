"""The stages of one search: calibrate, study, measure the front, retrain finalists, report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hwnas.calibration_records import calibrate_into
from hwnas.candidate_cost_model import CandidateCostModel
from hwnas.claims import LAUNCHER
from hwnas.costs import ArchitectureCosts, CostModel
from hwnas.deriving import derive_variants
from hwnas.errors import UserError
from hwnas.evaluation import evaluate_candidates
from hwnas.feasibility import find_feasible
from hwnas.finalists import measured_front
from hwnas.objectives import Objective, constraints_of, objectives_of
from hwnas.pareto import ObjectiveScale
from hwnas.predictor_store import (
    PREDICTOR_FILE,
    RECORDS_FILE,
    SpaceDescription,
    load_predictors,
    predictor_folder,
)
from hwnas.results import write_results
from hwnas.search_budget import BUDGET, Budget
from hwnas.search_context import SearchContext
from hwnas.search_plan import PLAN, RUN_FOLDER, SearchPlan
from hwnas.search_study import open_study, storage_url
from hwnas.storages import open_storage
from hwnas.study import SearchStudy
from hwnas.study_store import read_description
from hwnas.training_pool import TrainingPool
from hwnas.worker_process import WorkerProcess
from latency_predictors import calibrate
from latency_predictors.coverage import covering_subset, distinct_architectures
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import Architecture

_PRESAMPLED = 2000


def run_stages(context: SearchContext, predictors: Path, resume: bool, workers: int) -> None:
    """Carry out a search, or what is left of it, and write its results.

    Args:
        context: The search; its run is locked and its target open.
        predictors: Folder of calibrated predictors, shared by searches.
        resume: Whether the run was begun before.
        workers: Worker processes on this computer.

    Raises:
        UserError: If the search cannot be as it was asked for; its run is removed then.
    """
    try:
        _prepare(context, predictors, resume)
    except (UserError, OSError):
        # the same command, with the fault corrected, must not find a run there
        if not resume:
            context.run.remove()
        raise
    evaluate_candidates(context, workers)
    with TrainingPool(context.config, context.base_dir, workers) as trainers:
        front = measured_front(context, trainers)
        folder = predictor_folder(predictors, context.target, context.space)
        # kept, whatever becomes of the variants
        write_results(context, front, folder)
        derive_variants(context, front, trainers)


def _prepare(context: SearchContext, predictor_root: Path, resume: bool) -> None:
    """Fill in what the study needs: predictors, cost model, plan, study."""
    config = context.config
    predictors = _load_or_calibrate(context, predictor_root)
    energy_model = context.target.spec.energy_model
    context.costs = CostModel(context.space, predictors, energy_model, config.product)
    objectives = objectives_of(config.objectives)
    constraints = constraints_of(config.constraints, config.product)
    limits = CandidateCostModel(context.costs, objectives, constraints)
    rng = np.random.default_rng(config.seed)
    pool = find_feasible(context.space, limits.violations, limits.constraints, _PRESAMPLED, rng)
    context.progress.message(pool.summary)
    sampled = list(distinct_architectures(context.space, _PRESAMPLED, rng))
    scale = _objective_scale(context, objectives, context.costs.predict(sampled))
    context.plan = SearchPlan(
        config,
        context.base_dir,
        context.dataset.fingerprint,
        energy_model,
        scale.ideal,
        scale.reference,
        predictors,
    )
    context.study = _open_study(context, pool.architectures, resume)


def _open_study(context: SearchContext, pool: Sequence[Architecture], resume: bool) -> SearchStudy:
    """Make the study, or find it, and give workers what they need to join.

    Raises:
        UserError: If another search of this name is in the storage, or a resumed one is not.
    """
    config = context.config
    url = storage_url(config, context.run)
    storage = open_storage(url)
    is_there = read_description(storage, PLAN, config.name) is not None
    if resume and not is_there and any(context.run.path.glob("checkpoints/*")):
        raise UserError(
            f"search.storage: holds no search {config.name!r}, though {context.run.path} "
            "has trained candidates. Restore the storage, or choose another name with "
            "--set name=NAME."
        )
    if not resume and is_there:
        raise UserError(
            f"search.storage: holds a search {config.name!r} already. Continue it with --resume, "
            "or choose another name with --set name=NAME."
        )
    study = open_study(context.plan, storage, context.space, context.costs, "search")
    study.enqueue(covering_subset(context.space, pool, config.search.warm_start))
    study.describe(PLAN, context.plan.to_json())
    study.announce(BUDGET, Budget.of(config).model_dump_json())
    study.announce(LAUNCHER, json.dumps(WorkerProcess.current().to_dict()))
    study.announce(RUN_FOLDER, str(context.run.path.resolve()))
    return study


def _load_or_calibrate(context: SearchContext, root: Path) -> TargetPredictors:
    if own := load_predictors(context.run.path):
        return own
    folder = predictor_folder(root, context.target, context.space)
    predictors = load_predictors(folder)
    if predictors is None:
        predictors = calibrate_into(
            folder,
            context.target,
            SpaceDescription(
                context.config.space,
                context.dataset.input_shape,
                len(context.dataset.class_names),
            ),
            partial(
                calibrate,
                samples=context.config.calibration.samples,
                held_out=context.config.calibration.held_out,
            ),
            seed=context.config.seed,
            progress=context.progress,
        )
    else:
        context.progress.message(f"Predictors of {context.target.name} loaded from {folder}")
    shutil.copyfile(folder / RECORDS_FILE, context.run.measurements)
    # the run keeps its own: a resumed search must see the predictors it began with
    predictors.save(context.run.path / PREDICTOR_FILE)
    return predictors


def _objective_scale(
    context: SearchContext, objectives: tuple[Objective, ...], costs: Sequence[ArchitectureCosts]
) -> ObjectiveScale:
    """Span each cost from the cheapest first exit to the costliest full path sampled.

    Accuracy spans from chance, or from the least that is acceptable, to 1.
    """
    ideal, reference = [], []
    for objective in objectives:
        if objective.name == "accuracy":
            floor = context.config.constraints.min_accuracy
            ideal.append(1.0)
            reference.append(floor or 1 / len(context.dataset.class_names))
        else:
            best, worst = (max, min) if objective.direction == "maximize" else (min, max)
            ideal.append(best(c.range_of(objective.metric)[0] for c in costs))
            reference.append(worst(c.range_of(objective.metric)[1] for c in costs))
    return ObjectiveScale(objectives, tuple(ideal), tuple(reference))
