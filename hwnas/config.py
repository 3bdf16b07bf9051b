"""The experiment file: YAML in, one frozen `ExperimentConfig` out, every error in one line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwnas.dataset_config import DatasetConfig
from hwnas.errors import UserError
from hwnas.training_config import TrainingConfig

ObjectiveName: TypeAlias = Literal["accuracy", "latency", "energy", "flash", "peak_ram"]
SamplerName: TypeAlias = Literal["tpe", "nsga2", "nsga3", "random"]
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

    Latency and energy are those of the path through every exit (worst case).
    Costs are judged before training; accuracy, on the validation split, after it.
    """

    min_accuracy: Annotated[float, Field(gt=0, lt=1)] | None = None

    max_latency_ms: _Positive | None = None
    max_energy_mj: _Positive | None = None
    max_flash_kib: _Positive | None = None
    max_peak_ram_kib: _Positive | None = None


class CalibrationConfig(_Section):
    """How many architectures the target is calibrated with."""

    samples: Annotated[int, Field(ge=8)] = 40
    held_out: Annotated[int, Field(ge=0)] = 10


class SearchConfig(_Section):
    """The study: how many architectures are trained and how they are proposed."""

    evaluations: _Count = 60
    sampler: SamplerName = "tpe"
    batch: _Count = Field(8, description="architectures proposed before any of them is told")
    warm_start: Annotated[int, Field(ge=0)] = Field(
        16, description="feasible architectures that cover the space, evaluated first"
    )


class EarlyExitConfig(_Section):
    """How exit thresholds are chosen on the validation split."""

    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)] = 0.005


class FinalistsConfig(_Section):
    """Front members retrained with several seeds and judged on the test split."""

    count: _Count = 3
    seeds: Annotated[int, Field(ge=2)] = 3
    epochs: _Count | None = Field(None, description="of each retraining; default as in the search")


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
    calibration: CalibrationConfig = CalibrationConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()
    early_exit: EarlyExitConfig = EarlyExitConfig()
    finalists: FinalistsConfig = FinalistsConfig()


def load_config(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read and check an experiment file.

    Args:
        path: YAML file.
        overrides: ``key.subkey=value`` strings; the value is read as YAML.

    Raises:
        UserError: One line naming file, key, what was wanted and what came.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)})") from None
    document = _parse_yaml(text, str(path))
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise UserError(
            f"{path}: wanted keys and values such as 'name: my-search'. "
            f"Got {type(document).__name__}."
        )
    for override in overrides:
        _apply_override(document, override)
    return parse_config(document, str(path))


def parse_config(document: Mapping[str, Any], source: str) -> ExperimentConfig:
    """Check a document against the schema.

    Args:
        document: Parsed YAML.
        source: What error messages call it, usually its path.

    Raises:
        UserError: As `load_config`.
    """
    try:
        # JSON mode: strict about types (no True for 1, no "60" for 60), lists become tuples
        text = json.dumps(document, default=str)
        config = ExperimentConfig.model_validate_json(text, strict=True)
    except (TypeError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise UserError(f"{source}: {_one_line(error, document)}") from None
        raise UserError(f"{source}: {_reason(error)}") from None
    if len(set(config.objectives)) != len(config.objectives):
        raise UserError(f"{source}: objectives: wanted each once. Got {list(config.objectives)}.")
    return config


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number and refuses a key written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"keys must be text. Got {key!r}.", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise UserError(f"{source}{where}: not valid YAML ({problem})") from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{source}: not valid YAML ({_reason(error)})") from None


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
    document[last] = _parse_yaml(value, f"--set {override}")


def _one_line(error: ValidationError, document: Mapping[str, Any]) -> str:
    first, *others = error.errors(include_url=False)
    # in a union the location also holds the member's tag, which is no key of the file
    keys: list[str] = []
    node: Any = document
    for part in first["loc"]:
        in_list = isinstance(node, list) and isinstance(part, int) and part < len(node)
        if in_list or (isinstance(node, Mapping) and part in node):
            node = node[part]
        elif part != first["loc"][-1]:
            continue
        keys.append(str(part))
    where = ".".join(keys) or "document"
    more = f" ({len(others)} more)" if others else ""
    return f"{where}: {_explain(first)}{more}"


def _explain(error: Any) -> str:
    kind, message = error["type"], error["msg"]
    if kind == "extra_forbidden":
        return f"unknown key.{_suggestion(error['loc'])}"
    if kind == "missing":
        return "missing; it has no default"
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    shown = json.dumps(error["input"], default=str)
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    return f"wanted {message}. Got {shown}." if kind != "value_error" else message


def _suggestion(location: tuple[int | str, ...]) -> str:
    allowed = _fields_at(ExperimentConfig, location[:-1])
    close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Allowed: {', '.join(sorted(allowed))}." if allowed else ""


def _fields_at(model: Any, location: Sequence[int | str]) -> list[str]:
    """Return the field names of the section at ``location``; union tags pick a member."""
    if not location:
        return list(model.model_fields) if hasattr(model, "model_fields") else []
    head, *rest = location
    if hasattr(model, "model_fields"):
        field = model.model_fields.get(head)
        return _fields_at(field.annotation, rest) if field else []
    for member in get_args(model):
        kind = getattr(member, "model_fields", {}).get("kind")
        if kind is not None and head in get_args(kind.annotation):
            return _fields_at(member, rest)
        if (found := _fields_at(member, location)) and hasattr(member, "model_fields"):
            return found
    return []


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
