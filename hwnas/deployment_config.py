"""Settings of what is derived of the front for deployment: precisions, thresholds, forms."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hwnas.compression_config import DistillationConfig, MarginsConfig, PruningConfig

_Fraction = Annotated[float, Field(ge=0, lt=1)]


class DeploymentConfig(BaseModel):
    """Which variants of front members are made, judged and measured after a search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: Annotated[int, Field(ge=1)] = Field(
        4, description="front members that variants are made of, spread over the front"
    )
    accuracy_drops: Annotated[tuple[_Fraction, ...], Field(min_length=1)] = Field(
        (0.0, 0.005, 0.01, 0.02, 0.05),
        description="validation accuracy that early exits may cost: one variant for each",
    )
    int8: bool = Field(True, description="quantized variants, where the device can run them")
    max_int8_drop: _Fraction = Field(
        0.01,
        description="validation accuracy that int8 may cost; beyond, the most sensitive "
        "operators stay in float32, and then the network is trained on for int8",
    )
    calibration_samples: Annotated[int, Field(ge=16)] = Field(
        256, description="training samples that activations' ranges are taken from"
    )
    fine_tune_epochs: Annotated[int, Field(ge=0)] = Field(
        4, description="of the training for int8; none where 0"
    )
    every_clock: bool = Field(
        False, description="measure variants at every operating point of the device, too"
    )
    distillation: DistillationConfig | None = Field(
        None, description="train members again by the most accurate one"
    )
    pruning: PruningConfig | None = Field(None, description="prune members, and train them on")
    margins: MarginsConfig = MarginsConfig()

    @field_validator("accuracy_drops")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("wanted ascending values, each once")
        return value
