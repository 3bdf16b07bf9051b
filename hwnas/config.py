"""The experiment file: YAML in, one frozen `ExperimentConfig` out, every error in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from hwnas.compression_config import require_torch_pruning
from hwnas.config_file import parse_yaml, read_document, validated
from hwnas.dataset_config import DatasetConfig
from hwnas.deployment_config import DeploymentConfig
from hwnas.errors import UserError
from hwnas.exit_policy import ConfidenceMeasure
from hwnas.objectives import unmet_need
from hwnas.product_config import ProductConfig
from hwnas.stop_config import StopConfig
from hwnas.training_config import AccuracyConfig, TrainingConfig
from targets import EnergyConfig

ObjectiveName: TypeAlias = Literal[
    "accuracy",
    "latency",
    "energy",
    "flash",
    "peak_ram",
    "inferences_per_joule",
    "average_power",
    "battery_days",
]
SamplerName: TypeAlias = Literal["pareto_guided", "tpe", "nsga2", "nsga3", "gp", "random"]
Scalar: TypeAlias = int | float | str

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpaceConfig(_Section):
    """Which space to search, and which of its choices."""

    name: str = "early_exit"
    base: str | None = Field(None, description="space that early_exit wraps")
    n_stages: Annotated[int, Field(ge=1, le=8)] | None = None
    choices: dict[str, list[Scalar]] = {}


class ConstraintsConfig(_Section):
    """Hard limits.

    Latency, its P99 and energy are those of the path through every exit (worst case); what a
    battery pays for, from ``min_inferences_per_joule`` on, is the mean over the exits.
    Costs are judged before training; accuracy, on the validation split, after it.
    """

    min_accuracy: Annotated[float, Field(gt=0, lt=1)] | None = None

    max_latency_ms: _Positive | None = None
    max_latency_p99_ms: _Positive | None = None
    max_energy_mj: _Positive | None = None
    max_flash_kib: _Positive | None = None
    max_peak_ram_kib: _Positive | None = None
    min_inferences_per_joule: _Positive | None = None
    max_average_power_mw: _Positive | None = None
    min_battery_days: _Positive | None = None
    max_co2e_g_per_million: _Positive | None = None
    max_cost_per_million: _Positive | None = None


class CalibrationConfig(_Section):
    """How many architectures the target is calibrated with."""

    samples: Annotated[int, Field(ge=8)] = 40
    held_out: Annotated[int, Field(ge=0)] = 10


class RayConfig(_Section):
    """Workers that a Ray cluster places; needs ``search.storage``, which every node reaches."""

    address: str | None = Field(
        None, description="of the cluster, such as ray://head:10001; one is started here if none"
    )
    workers: _Count = 1
    cpus_per_worker: _Positive = 1.0
    gpus_per_worker: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class SearchConfig(_Section):
    """The study: how many architectures are trained, how they are proposed, where it is kept."""

    evaluations: _Count = 60
    sampler: SamplerName = "pareto_guided"
    batch: _Count = Field(
        4, description="architectures that pareto_guided proposes with the same knowledge, at least"
    )
    warm_start: Annotated[int, Field(ge=0)] = Field(
        16, description="feasible architectures that cover the space, evaluated first"
    )
    storage: str | None = Field(
        None,
        description="URL of a database that workers on several hosts share; "
        "a journal file in the run's folder where there is none",
    )
    ray: RayConfig | None = None
    stop: StopConfig = StopConfig()
    lease_s: _Positive = Field(
        60.0, description="an evaluation whose worker is silent for so long is taken up by another"
    )


class EnergyMeasurementConfig(_Section):
    """How energies of front members are measured, where the target has power meters."""

    trials: Annotated[int, Field(ge=2)] = 5
    relative_error: Annotated[float, Field(gt=0, lt=1)] = 0.03
    max_relative_error: Annotated[float, Field(gt=0, lt=1)] = 0.25
    min_window_s: _Positive = 10.0
    idle_s: _Positive = 10.0

    def for_target(self, seed: int) -> EnergyConfig:
        """Return it as a target wants it."""
        return EnergyConfig(
            trials=self.trials,
            max_trials=3 * self.trials,
            relative_error=self.relative_error,
            max_relative_error=self.max_relative_error,
            min_window_s=self.min_window_s,
            idle_s=self.idle_s,
            seed=seed,
        )


class EarlyExitConfig(_Section):
    """How exit policies are chosen on the validation split.

    Attributes:
        max_accuracy_drop: Accuracy that thresholds may cost, of the last exit's.
        measure: Of confidence; ``auto``: the one that saves most.
        temperature_scaling: Whether the logits of each exit are scaled.
    """

    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)] = 0.005
    measure: Literal["auto", ConfidenceMeasure] = "auto"
    temperature_scaling: bool = True


class FinalistsConfig(_Section):
    """Front members retrained with several seeds, as long as in the search.

    A longer training would let finalists dominate members that had no such chance.
    """

    count: _Count = 6
    seeds: Annotated[int, Field(ge=2)] = 3


class _ProductFile(BaseModel):
    """What is read of a file that describes a product: an experiment, or nothing but that."""

    model_config = ConfigDict(frozen=True)

    product: ProductConfig


class ExperimentConfig(_Section):
    """One experiment, fully resolved."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    dataset: DatasetConfig
    space: SpaceConfig = SpaceConfig()
    target: str = "host"
    objectives: Annotated[tuple[ObjectiveName, ...], Field(min_length=2)] = (
        "accuracy",
        "latency",
        "energy",
    )
    constraints: ConstraintsConfig = ConstraintsConfig()
    product: ProductConfig | None = None
    calibration: CalibrationConfig = CalibrationConfig()
    training: TrainingConfig = TrainingConfig()
    accuracy: AccuracyConfig = AccuracyConfig()
    search: SearchConfig = SearchConfig()
    energy_measurement: EnergyMeasurementConfig = EnergyMeasurementConfig()
    early_exit: EarlyExitConfig = EarlyExitConfig()
    finalists: FinalistsConfig = FinalistsConfig()
    deployment: DeploymentConfig = DeploymentConfig()


def load_config(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read and check an experiment file.

    Args:
        path: YAML file.
        overrides: ``key.subkey=value`` strings; the value is read as YAML.

    Raises:
        UserError: One line naming file, key, what was wanted and what came.
    """
    document = read_document(path)
    for override in overrides:
        _apply_override(document, override)
    return parse_config(document, str(path))


def load_product(path: Path) -> ProductConfig:
    """Read section ``product`` of an experiment file, or of a file with that section alone.

    Args:
        path: YAML file.

    Raises:
        UserError: As `load_config`.
    """
    return validated(read_document(path), str(path), _ProductFile).product


def parse_config(document: Mapping[str, Any], source: str) -> ExperimentConfig:
    """Check a document against the schema.

    Args:
        document: Parsed YAML.
        source: What error messages call it, usually its path.

    Raises:
        UserError: As `load_config`.
    """
    config = validated(document, source, ExperimentConfig)
    if len(set(config.objectives)) != len(config.objectives):
        raise UserError(f"{source}: objectives: wanted each once. Got {list(config.objectives)}.")
    if config.search.ray is not None and config.search.storage is None:
        raise UserError(
            f"{source}: search.ray: needs search.storage, a URL that every node of the cluster "
            "reaches. See docs/distributed.md."
        )
    if config.deployment.pruning is not None:
        require_torch_pruning(f"{source}: deployment.pruning")
    if need := unmet_need(config):
        raise UserError(f"{source}: {need}")
    return config


def _apply_override(document: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: wanted key=value, such as search.evaluations=20")
    *parents, last = key.split(".")
    for parent in parents:
        child = document.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UserError(f"--set {override}: {parent!r} holds a value, not a section")
        document = child
    document[last] = parse_yaml(value, f"--set {override}")
