"""Settings of distillation and pruning."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hwnas.errors import UserError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DistillationConfig(_Section):
    """How much a student heeds its teacher; see `hwnas.distillation`."""

    weight: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="of the teacher's answers; the labels have the rest"
    )
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        4.0, description="what logits are divided by, so that small probabilities tell, too"
    )


class PruningConfig(_Section):
    """How far networks are pruned, and how long they are trained afterwards."""

    latency_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.7, description="latency to reach, as a share of the network's own"
    )
    channel_multiple: Annotated[int, Field(ge=1)] = Field(
        4, description="channels that are left are rounded to multiples of it"
    )
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="of the training afterwards; as many as a candidate's where not given"
    )


class MarginsConfig(_Section):
    """By how much a compressed network may be worse and still counts as no worse."""

    accuracy: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01, description="accuracy that may be lost, as a fraction"
    )
    cost: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.02, description="latency or energy that may be added, as a share"
    )


def require_torch_pruning(where: str) -> None:
    """Refuse to prune without torch-pruning, before anything is trained.

    Args:
        where: What wants it, such as ``search.yaml: deployment.pruning``.

    Raises:
        UserError: If it is not installed.
    """
    if find_spec("torch_pruning") is None:
        raise UserError(f"{where}: needs torch-pruning. Install it: pip install 'hwnas[pruning]'")
