"""Candidates as they were searched, as variants: float32, with the search's exit policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.candidate_training import load_network
from hwnas.errors import UserError
from hwnas.front import Candidate
from hwnas.run_folder import RunFolder
from hwnas.variants import NetworkForm, Variant, Variants
from targets import write_atomically

if TYPE_CHECKING:
    from torch import nn

    from search_spaces import SearchSpace


def plain_variants(
    run: RunFolder, space: SearchSpace, target: str, candidates: Sequence[Candidate]
) -> Variants:
    """Return a variant of each candidate, and write its ONNX files into the run.

    Args:
        run: Holds the checkpoints; gets the models.
        space: That the candidates are of.
        target: Name of the target that measured them.
        candidates: At least one.

    Raises:
        UserError: If a checkpoint is missing or damaged.
    """
    variants = [_plain_variant(run, space, target, candidate) for candidate in candidates]
    best = max(variants, key=lambda v: v.metrics["validation_accuracy"].value)
    return Variants(tuple(variants), best.variant_id)


def _plain_variant(
    run: RunFolder, space: SearchSpace, target: str, candidate: Candidate
) -> Variant:
    deployment = candidate.deployment
    network = load_deployed(run, space, candidate, deployment.checkpoint)
    form = write_models(run, space, candidate, network)
    return Variant(
        form=form,
        policy=deployment.policy,
        exit_shares=deployment.exit_shares,
        target=target,
        metrics=candidate.metrics,
        feasible=candidate.feasible,
        on_front=candidate.on_front,
    )


def write_models(
    run: RunFolder, space: SearchSpace, candidate: Candidate, network: nn.Module
) -> NetworkForm:
    """Write a candidate's ONNX files, one per stage, and return its plain float32 form."""
    from search_spaces.onnx_export import stage_models

    models = stage_models(network, space.input_shape)
    arch_id = candidate.architecture.arch_id
    names = tuple(f"{arch_id}-float32-stage_{k}.onnx" for k in range(len(models)))
    run.variants.mkdir(exist_ok=True)
    for name, model in zip(names, models, strict=True):
        write_atomically(run.variants / name, model.SerializeToString(deterministic=True))
    checkpoint = Path(candidate.deployment.checkpoint).name
    return NetworkForm(arch_id, "plain", "float32", checkpoint, names)


def load_deployed(
    run: RunFolder, space: SearchSpace, candidate: Candidate, checkpoint: str
) -> nn.Module:
    """Return a trained network of a candidate's architecture.

    Args:
        run: Holds the checkpoints.
        space: That the candidate is of.
        candidate: Says the architecture.
        checkpoint: File name of the weights.

    Raises:
        UserError: If its checkpoint is missing or damaged.
    """
    from safetensors import SafetensorError

    # a name only: a front.json from elsewhere must not reach out of the run
    path = run.checkpoints / Path(checkpoint).name
    try:
        return load_network(space, candidate.architecture, path)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: missing or damaged ({error}). Search again.") from None
