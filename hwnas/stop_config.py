"""Settings of what ends a search."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(gt=0, lt=1)]


class PlateauConfig(BaseModel):
    """Stop where the front has ceased to grow; see `hwnas.stopping.plateau`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_gain: _Share = Field(0.001, description="of the hypervolume, by one evaluation")
    chance: _Share = Field(0.05, description="of such a gain, below which a search ends")
    confidence: _Share = Field(0.9, description="with which the chance is below that")


class StopConfig(BaseModel):
    """What ends a search beside ``search.evaluations``, whichever comes first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: _Positive | None = Field(None, description="in which evaluations ran")
    joules: _Positive | None = Field(None, description="of the computers that evaluate")
    cpu_core_power_w: _Positive | None = Field(
        None, description="of a busy core, where no counter measures energies"
    )
    plateau: PlateauConfig | None = None
