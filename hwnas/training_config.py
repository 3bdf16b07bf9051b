"""Settings of a training, and of how accuracies are scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Augmentation(_Section):
    """Random changes to training samples.

    ``shift`` moves by up to so many pixels on each spatial axis longer than 1
    (wrapping around), ``flip`` mirrors the width, ``noise_std`` adds Gaussian noise.
    """

    shift: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    noise_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class TrainingConfig(_Section):
    """AdamW with a cosine schedule; every exit is trained jointly."""

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


class HalvingConfig(_Section):
    """Successive halving: what is trained on at each rung, and how long the first one is."""

    reduction: Annotated[int, Field(ge=2)] = Field(
        3, description="one of so many trainings goes on from a rung, for so many times its epochs"
    )
    rungs: Annotated[int, Field(ge=2, le=6)] = Field(
        3, description="the last one is the end of a full training"
    )


class SupernetConfig(_Section):
    """The once-for-all network whose weights architectures inherit."""

    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="of its own training; as many as a candidate's where not given"
    )
    random_networks: Annotated[int, Field(ge=0)] = Field(
        2, description="trained at each step beside the largest and the smallest"
    )
    fine_tune_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="trained by each candidate with the weights it inherits"
    )


class RankingConfig(_Section):
    """On how many architectures, each trained with several seeds, scores are judged."""

    architectures: Annotated[int, Field(ge=8)] = 16
    seeds: Annotated[int, Field(ge=2)] = 2


class AccuracyConfig(_Section):
    """How the accuracy of candidates is scored.

    ``scorer`` names a registered one (``full``, ``halving``, ``supernet``), or is ``auto``:
    full trainings with several seeds first, which tell whether ``halving`` pays.
    """

    scorer: str = "auto"
    halving: HalvingConfig = HalvingConfig()
    supernet: SupernetConfig = SupernetConfig()
    ranking: RankingConfig = RankingConfig()
