"""Settings of a training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Fraction = Annotated[float, Field(ge=0, lt=1)]


class Augmentation(BaseModel):
    """Random changes to training samples.

    ``shift`` moves by up to so many pixels on each spatial axis longer than 1
    (wrapping around), ``flip`` mirrors the width, ``noise_std`` adds Gaussian noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    noise_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class TrainingConfig(BaseModel):
    """AdamW with a cosine schedule; every exit is trained jointly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[int, Field(ge=1)] = 12
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: _Positive = 0.02
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    label_smoothing: _Fraction = 0.05
    exit_loss_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        1.0, description="weight of each early exit's loss; the final exit's is 1"
    )
    augmentation: Augmentation = Augmentation()
    device: Literal["auto", "cpu", "cuda"] = "auto"
