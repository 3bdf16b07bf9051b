"""Begin or continue a search: check what is asked, open the run, then go through its stages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwnas.compute_energy import check_joules
from hwnas.config import load_config
from hwnas.datasets import Dataset, load_dataset
from hwnas.errors import UserError
from hwnas.progress import ProgressReporter, SilentProgress
from hwnas.run_folder import SCHEMA_VERSION, RunFolder, environment
from hwnas.scorers import check as check_scorer
from hwnas.search_context import SearchContext
from hwnas.sla import Sla, load_sla
from hwnas.sla_search import with_sla
from hwnas.spaces import create_space
from hwnas.storage_location import with_absolute_storage
from hwnas.target_checking import check_quantized_target, open_target
from targets import Target

# how long a search goes on, and what follows it
_MAY_CHANGE = ("search.evaluations.", "search.stop.", "search.lease_s.", "deployment.")


def search(
    config_path: Path,
    *,
    overrides: Sequence[str] = (),
    sla: Path | None = None,
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
        sla: SLA whose limits join those of the experiment; recorded in the run's manifest.
        resume: Continue a run that was interrupted, or a finished one with a larger budget or
            other variants.
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
    limits = load_sla(sla) if sla is not None else None
    if limits is not None:
        config = with_sla(config, limits)
    base_dir = config_path.resolve().parent
    config = with_absolute_storage(config, base_dir)
    dataset = load_dataset(config.dataset, base_dir)
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    target = open_target(config.target)
    if config.deployment.int8:
        check_quantized_target(target.spec)
    check_scorer(config.accuracy.scorer, space)
    if config.search.ray is None:
        check_joules(config.search.stop)
    run = RunFolder(runs / config.name)
    resolved = config.model_dump(mode="json")
    if resume:
        manifest = _resumed(run, resolved, dataset, target)
    else:
        manifest = _begun(resolved, limits, base_dir, dataset, target)
        run.create(manifest)
    # they take seconds to import: what is wrong so far is said at once
    from hwnas.search_stages import run_stages

    with run.lock(), target:
        if resume:  # not before: the settings of a search that another process runs stay
            run.write_json(run.manifest_json, manifest)
        run_stages(
            SearchContext(
                config, base_dir, run, dataset, space, target, progress or SilentProgress()
            ),
            predictors,
            resume,
            workers or os.cpu_count() or 1,
        )
    return run


def _begun(
    resolved: dict[str, Any], sla: Sla | None, base_dir: Path, dataset: Dataset, target: Target
) -> dict[str, Any]:
    """Return the manifest of a new run."""
    return {
        "schema_version": SCHEMA_VERSION,
        "config": resolved,
        "sla": sla.to_dict() if sla is not None else None,
        "base_dir": str(base_dir),
        "dataset_fingerprint": dataset.fingerprint,
        "target_fingerprint": target.fingerprint,
        "environment": environment(),
    }


def _resumed(
    run: RunFolder, resolved: dict[str, Any], dataset: Dataset, target: Target
) -> dict[str, Any]:
    """Return the manifest of a run that is continued.

    Raises:
        UserError: If there is no run, or its data, its target or a setting has changed that must
            not.
    """
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
    return {**manifest, "config": resolved}


def _first_difference(old: Any, new: Any, path: str = "") -> str | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            where = f"{path}.{key}" if path else key
            found = _first_difference(old.get(key), new.get(key), where)
            if found is not None and not f"{found}.".startswith(_MAY_CHANGE):
                return found
        return None
    return None if old == new else path
