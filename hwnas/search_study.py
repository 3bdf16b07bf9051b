"""Where the study of a search is kept, and how a process takes part in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.candidate_cost_model import CandidateCostModel
from hwnas.config import ExperimentConfig
from hwnas.config_file import validated
from hwnas.costs import CostModel
from hwnas.errors import UserError
from hwnas.feasibility import find_feasible
from hwnas.run_folder import RunFolder
from hwnas.search_plan import SearchPlan
from hwnas.search_samplers import CandidateFilter, sampler_of
from hwnas.seeds import derived_seed
from hwnas.storage_location import require_shared
from hwnas.study import SearchStudy
from search_spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_RESERVE = 2000
# no trial number reaches it
_RESERVE_STREAM = (1 << 30) + 1


def storage_url(config: ExperimentConfig, run: RunFolder) -> str:
    """Return where a search keeps its study: a shared database, or a journal in its folder."""
    return config.search.storage or f"journal://{run.journal.resolve()}"


def location_of(location: str, study_name: str | None) -> tuple[str, str]:
    """Return storage URL and study name of a search, given its run folder or that URL.

    Raises:
        UserError: If the folder holds no run, or one of another hwnas, or a URL comes without a
            name or is of a database in memory.
    """
    if "://" in location:
        if study_name is None:
            raise UserError(f"{location}: which search? Give its name with --study NAME.")
        require_shared(location, "storage")
        return location, study_name
    run = RunFolder(Path(location))
    config = validated(run.manifest()["config"], str(run.manifest_json), ExperimentConfig)
    return storage_url(config, run), config.name


def open_study(
    plan: SearchPlan,
    storage: BaseStorage,
    space: SearchSpace,
    costs: CostModel,
    worker: str,
    candidate_filter: CandidateFilter | None = None,
) -> SearchStudy:
    """Take part in the study of a search.

    Args:
        plan: Of the search.
        storage: That holds the study, or is to hold it.
        space: Searched.
        costs: Of its architectures.
        worker: Name of this process, for people.
        candidate_filter: For the sampler, should it pay.
    """

    def reserve() -> Sequence[Architecture]:
        limits = CandidateCostModel(costs, plan.objectives, plan.constraints)
        rng = np.random.default_rng(derived_seed(plan.config.seed, _RESERVE_STREAM))
        return find_feasible(
            space, limits.violations, limits.constraints, _RESERVE, rng
        ).architectures

    # the others propose what exceeds limits again and again, where little meets them
    guided = plan.config.search.sampler == "pareto_guided"
    return SearchStudy(
        storage,
        space,
        plan.objectives,
        plan.constraints,
        costs.predict,
        sampler_of(plan, space, costs, candidate_filter),
        tuple if guided else reserve,
        worker=worker,
        name=plan.config.name,
    )
