"""What a derived result stands on: it is kept only while that stays the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwnas.front import Candidate
from hwnas.retraining import finalist_outcomes
from hwnas.search_context import SearchContext
from hwnas.target_checking import show_target
from targets import TargetSpec


def step_key(context: SearchContext, *members: Candidate) -> str:
    """Return a digest of all that what is derived of trained members depends on.

    Of each member: which network is deployed and what its exits may cost, and outcomes and
    weights of every training. A longer search, resumed, may change them, and what variants are
    wanted. The descriptions of the target and of the one that runs quantized models may have
    been edited: what models their energies, the clocks of a sweep. Other settings and data are
    the same as long as a run lasts.

    Args:
        context: The search.
        members: That something is derived of, such as a student and its teacher.

    Raises:
        UserError: If there is no such target for quantized models, or its file is wrong.
    """
    wanted = context.config.deployment.model_dump(mode="json")
    states = [_state(context, member) for member in members]
    document = json.dumps([wanted, _devices(context), states], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()


def _devices(context: SearchContext) -> list[dict[str, Any]]:
    own = context.target.spec
    name = own.quantized_target
    if name is None or not context.config.deployment.int8:
        return [_device(own)]
    return [_device(own), _device(own if name == own.name else show_target(name))]


def _device(spec: TargetSpec) -> dict[str, Any]:
    # no paths: seen from another folder, the same files are the same device
    left_out = {"description", "quantized_target", "recording"}
    return spec.model_dump(mode="json", exclude=left_out)


def _state(context: SearchContext, member: Candidate) -> dict[str, Any]:
    run, arch_id = context.run, member.architecture.arch_id
    outcomes = finalist_outcomes(context, arch_id)
    # a name only: a front.json from elsewhere must not reach out of the run
    deployed = run.checkpoints / Path(member.deployment.checkpoint).name
    weights = {deployed, *(run.checkpoint(arch_id, seed) for seed in outcomes)}
    return {
        "arch_id": arch_id,
        "deployment": asdict(member.deployment),
        "outcomes": {str(seed): outcome.to_dict() for seed, outcome in outcomes.items()},
        "weights": {path.name: _digest(path) for path in weights},
    }


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
