"""The path of one search: calibrate, study, measure the front, retrain finalists, report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.calibration_records import calibrate_into
from hwnas.candidate_cost_model import CandidateCostModel
from hwnas.config import ExperimentConfig, load_config
from hwnas.costs import ArchitectureCosts, CostModel
from hwnas.datasets import Dataset, load_dataset
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
from hwnas.progress import ProgressReporter, SilentProgress
from hwnas.results import write_results
from hwnas.run_folder import SCHEMA_VERSION, RunFolder, environment
from hwnas.search_budget import BUDGET, STOPPED, Budget
from hwnas.search_context import SearchContext
from hwnas.search_plan import PLAN, RUN_FOLDER, SearchPlan
from hwnas.search_study import open_study, storage_url
from hwnas.spaces import create_space
from hwnas.storages import open_storage
from hwnas.study import SearchStudy
from hwnas.study_store import read_description
from hwnas.target_checking import open_target
from hwnas.training_pool import TrainingPool
from latency_predictors import calibrate
from latency_predictors.coverage import covering_subset, distinct_architectures
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import Architecture
from targets import Target

_PRESAMPLED = 2000
_BUDGETS = ("search.evaluations.", "search.stop.", "search.lease_s.")


def search(
    config_path: Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    runs: Path = Path("runs"),
    predictors: Path = Path("predictors"),
    workers: int | None = None,
    progress: ProgressReporter | None = None,
) -> RunFolder:
    """Run a search, or continue one, and write ``runs/<name>/``.

    Args:
        config_path: Experiment file.
        overrides: ``key=value`` strings that replace entries of the file.
        resume: Continue a run that was interrupted.
        runs: Folder of all runs.
        predictors: Folder of calibrated predictors, shared by searches.
        workers: Worker processes on this computer; one per core where ``None``. With one,
            the same search gives the same proposals; with several, the order in which
            their results come decides what is proposed next.
        progress: Told how far the work is.

    Returns:
        The finished run.

    Raises:
        UserError: If the input is wrong; nothing is half-written.
        UnreachableError: If the target cannot be measured.
    """
    config = load_config(config_path, overrides)
    base_dir = config_path.resolve().parent
    dataset = load_dataset(config.dataset, base_dir)
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    target = open_target(config.target)
    run = RunFolder(runs / config.name)
    _open_run(run, config, base_dir, dataset, target, resume)
    with run.lock(), target:
        context = SearchContext(
            config, base_dir, run, dataset, space, target, progress or SilentProgress()
        )
        try:
            _prepare(context, predictors, resume)
        except (UserError, OSError):
            # the same command, with the fault corrected, must not find a run there
            if not resume:
                run.remove()
            raise
        count = workers or os.cpu_count() or 1
        evaluate_candidates(context, count)
        with TrainingPool(config, base_dir, count) as trainers:
            front = measured_front(context, trainers)
        write_results(context, front, predictor_folder(predictors, target, space))
    return run


def _open_run(
    run: RunFolder,
    config: ExperimentConfig,
    base_dir: Path,
    dataset: Dataset,
    target: Target,
    resume: bool,
) -> None:
    resolved = config.model_dump(mode="json")
    if not resume:
        run.create(
            {
                "schema_version": SCHEMA_VERSION,
                "config": resolved,
                "base_dir": str(base_dir),
                "dataset_fingerprint": dataset.fingerprint,
                "target_fingerprint": target.fingerprint,
                "environment": environment(),
            }
        )
        return
    manifest = run.manifest()
    if manifest["dataset_fingerprint"] != dataset.fingerprint:
        raise UserError(f"{run.path}: the data set has changed since this run began.")
    if manifest["target_fingerprint"] != target.fingerprint:
        raise UserError(f"{run.path}: the target's description has changed since this run began.")
    changed = _first_difference(manifest["config"], resolved)
    if changed is not None:
        raise UserError(
            f"{run.path}: cannot resume with another {changed}. "
            "Restore it, or choose another name with --set name=NAME."
        )


def _first_difference(old: Any, new: Any, path: str = "") -> str | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            where = f"{path}.{key}" if path else key
            found = _first_difference(old.get(key), new.get(key), where)
            # a longer search is the same search, continued
            if found is not None and not f"{found}.".startswith(_BUDGETS):
                return found
        return None
    return None if old == new else path


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
        UserError: If another search of this name is in the storage.
    """
    config = context.config
    url = storage_url(config, context.run)
    storage = open_storage(url)
    if not resume and read_description(storage, PLAN, config.name) is not None:
        raise UserError(
            f"search.storage: holds a search {config.name!r} already. Continue it with --resume, "
            "or choose another name with --set name=NAME."
        )
    study = open_study(context.plan, storage, context.space, context.costs, "search")
    study.enqueue(covering_subset(context.space, pool, config.search.warm_start))
    study.describe(PLAN, context.plan.to_json())
    study.announce(BUDGET, Budget.of(config).model_dump_json())
    study.announce(STOPPED, "")
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
