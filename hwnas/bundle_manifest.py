"""What a bundle says of itself: its networks, operating points, preprocessing and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hwnas.config_errors import one_line
from hwnas.errors import UserError
from hwnas.exit_policy import ConfidenceMeasure, ExitPolicy
from hwnas.stored_metrics import checked_metrics

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"

FormatName: TypeAlias = Literal["litert", "vela", "coreml", "executorch"]

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
# relative, forward slashes, no part that leaves the folder
_File = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$")
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Metrics = Annotated[Mapping[str, dict[str, Any]], AfterValidator(checked_metrics)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileRecord(_Section):
    """A file of the bundle as it was written."""

    sha256: _Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class StageFiles(_Section):
    """One early-exit stage: reads ``input``, writes ``logits`` and, but for the last, ``features``.

    Args:
        onnx: Static graph of batch 1.
        library: Compiled for the target, where its toolchain makes libraries.
    """

    onnx: _File
    library: _File | None = None


class BundledNetwork(_Section):
    """Weights in one precision, cut into stages."""

    arch_id: str
    training: str
    precision: Literal["float32", "int8", "mixed"]
    target: str = Field(description="that measured it, such as host-onnxruntime")
    stages: Annotated[tuple[StageFiles, ...], Field(min_length=1)]


class ConvertedStage(_Section):
    """A stage in another format.

    Args:
        file: A folder for Core ML, whose models have several files.
        metrics: By name in SI units, as those of an operating point.
        notes: What else its tools say of it, by subject.
    """

    file: _File
    metrics: _Metrics
    notes: Mapping[str, str]


class ConvertedPoint(_Section):
    """What an operating point answers with a converted network in int8.

    Args:
        exit_shares: As those of the point.
        metrics: By name: accuracy, and how often the class is that of the ONNX graphs.
    """

    exit_shares: tuple[float, ...]
    metrics: _Metrics


class ConvertedNetwork(_Section):
    """A network in another format than ONNX, or why it could not be converted.

    Args:
        network: Key of ``networks``.
        precision: Of its arithmetic; ``None`` where it could not be converted.
        stages: As many as the network has; none where it could not be converted.
        tools: Versions of the packages that made it.
        settings: Of these, by name.
        verification: How far its outputs are known.
        operating_points: By name, of those that use the network, where it is in int8 and was
            run.
        has_own_answers: Whether the samples keep what it answers, being in int8.
        failure: Why it could not be converted.
    """

    format: FormatName
    network: str
    precision: Literal["float32", "int8"] | None
    stages: tuple[ConvertedStage, ...]
    tools: Mapping[str, str]
    settings: Mapping[str, str]
    verification: str
    operating_points: Mapping[str, ConvertedPoint] = {}
    has_own_answers: bool = False
    failure: str | None = None

    @property
    def name(self) -> str:
        """What names it in the bundle and among its samples, such as ``litert-int8/NETWORK``."""
        return f"{self.format}-{self.precision}/{self.network}"


class BundledExitPolicy(_Section):
    """As `hwnas.exit_policy.ExitPolicy`.

    Args:
        chosen_for: SHA-256 of the ONNX file of each stage that it was chosen for; it says
            nothing about other weights.
    """

    chosen_for: tuple[_Sha256, ...]
    measure: ConfidenceMeasure
    temperatures: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    thresholds: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]

    @property
    def policy(self) -> ExitPolicy:
        """The policy itself."""
        return ExitPolicy(self.thresholds, self.temperatures, self.measure)


class BundledPoint(_Section):
    """A network with an exit policy at an operating point of the device, and its metrics.

    Args:
        network: Key of ``networks``.
        variant_id: Of the run it comes from.
        exit_shares: Share of validation samples that leaves at each exit.
        device_point: Clock and power mode to set; ``None`` for the usual one.
        metrics: As in ``front.json``, by name in SI units.
    """

    network: str
    variant_id: str
    exit_policy: BundledExitPolicy
    exit_shares: tuple[float, ...]
    device_point: str | None
    metrics: _Metrics


class BundledInput(_Section):
    """Shape of one sample with its batch axis, and its type."""

    shape: Annotated[tuple[int, ...], Field(min_length=2)]
    dtype: Literal["float32"]


class BundleManifest(_Section):
    """The manifest of a bundle.

    Args:
        operating_points: By name, such as ``high``, ``balanced``, ``low``; the first is the
            one to use where nothing chooses.
        scaling_policy: File that says when to use which operating point, where there are
            several.
        formats: Its networks in other formats, where that was asked for.
        samples: File of sample inputs, and of logits and answers of every operating point.
        notes: Licence of data and weights, and what else a user must know.
        files: Every file of the bundle but this one.
    """

    schema_version: Literal[2]
    run: str
    target: str
    class_names: tuple[str, ...]
    input: BundledInput
    preprocessing: dict[str, Any]
    networks: dict[_Name, BundledNetwork]
    operating_points: Annotated[dict[_Name, BundledPoint], Field(min_length=1)]
    formats: tuple[ConvertedNetwork, ...] = ()
    scaling_policy: _File | None
    samples: _File
    notes: dict[str, str]
    environment: dict[str, Any]
    files: dict[_File, FileRecord]

    @property
    def default_point(self) -> str:
        """Name of the operating point to use where nothing chooses."""
        return next(iter(self.operating_points))


def read_manifest(bundle: Path) -> BundleManifest:
    """Read a bundle's manifest; `hwnas.bundle.open_bundle` also checks what it points to.

    Raises:
        UserError: If it is missing, damaged or of another schema version.
    """
    path = bundle / MANIFEST
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: not a bundle ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error})") from None
    except RecursionError:
        raise UserError(f"{path}: damaged (nested too deeply)") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: wanted schema_version {SCHEMA_VERSION}. Got {version!r}. Export it again."
        )
    try:
        return BundleManifest.model_validate_json(json.dumps(document), strict=True)
    except RecursionError:
        raise UserError(f"{path}: damaged (nested too deeply)") from None
    except ValidationError as error:
        raise UserError(f"{path}: {one_line(error, document, BundleManifest)}") from None
