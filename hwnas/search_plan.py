"""All that a worker must know of a search: any process with the data set can join by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from hwnas.config import ExperimentConfig
from hwnas.costs import CostModel
from hwnas.errors import UserError
from hwnas.objectives import Constraint, Objective, constraints_of, objectives_of
from hwnas.pareto import ObjectiveScale
from hwnas.run_folder import SCHEMA_VERSION
from hwnas.seeds import derived_seed
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import SearchSpace
from targets.spec import EnergyModel

PLAN = "plan"
"""Key under which a study holds the plan of its search."""

RUN_FOLDER = "run_folder"
"""Key under which the folder of the run is announced, on the computer that searches."""


@dataclass(frozen=True)
class SearchPlan:
    """What is settled before the first architecture is trained.

    Args:
        config: The experiment.
        base_dir: Folder that relative data paths start from, where the search was launched.
        dataset_fingerprint: Of the data that every worker must train on.
        energy_model: Of the target.
        ideal: Of the `ObjectiveScale`.
        reference: Likewise.
        predictors: Calibrated on the target.
    """

    config: ExperimentConfig
    base_dir: Path
    dataset_fingerprint: str
    energy_model: EnergyModel
    ideal: tuple[float, ...]
    reference: tuple[float, ...]
    predictors: TargetPredictors

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimized."""
        return objectives_of(self.config.objectives)

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """The limits, in SI units."""
        return constraints_of(self.config.constraints, self.config.product)

    @cached_property
    def scale(self) -> ObjectiveScale:
        """How objectives become losses."""
        return ObjectiveScale(self.objectives, self.ideal, self.reference)

    def costs(self, space: SearchSpace) -> CostModel:
        """Return the cost model of the search's space on its target."""
        return CostModel(space, self.predictors, self.energy_model, self.config.product)

    def training_seed(self, *stream: int) -> int:
        """Return the seed of one training, derived from the experiment's and a stream."""
        return derived_seed(self.config.seed, *stream)

    def to_json(self) -> str:
        """Return a text for `from_json`."""
        return json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "config": self.config.model_dump(mode="json"),
                "base_dir": str(self.base_dir),
                "dataset_fingerprint": self.dataset_fingerprint,
                "energy_model": self.energy_model.model_dump(mode="json"),
                "ideal": list(self.ideal),
                "reference": list(self.reference),
                "predictors": self.predictors.to_dict(),
            }
        )

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Rebuild a plan.

        Args:
            text: Of `to_json`.
            source: What error messages call the place it came from.

        Raises:
            UserError: If it is damaged or of another schema version.
        """
        try:
            document: Mapping[str, Any] = json.loads(text)
            if (version := document["schema_version"]) != SCHEMA_VERSION:
                raise UserError(
                    f"{source}: schema_version {version}, this hwnas reads {SCHEMA_VERSION}. "
                    "Run the hwnas that began this search."
                )
            return cls(
                ExperimentConfig.model_validate_json(json.dumps(document["config"])),
                Path(document["base_dir"]),
                str(document["dataset_fingerprint"]),
                EnergyModel.model_validate(document["energy_model"]),
                tuple(float(value) for value in document["ideal"]),
                tuple(float(value) for value in document["reference"]),
                TargetPredictors.from_dict(document["predictors"]),
            )
        except UserError:
            raise  # it is a ValueError, but no sign of damage
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{source}: damaged ({type(error).__name__}: {str(error).splitlines()[0]}). "
                "Search again under another name."
            ) from None
